package vringtest

import "fmt"

// Range is a piece of the driver's memory.
type Range struct{ Addr, Len uint64 }

// Snapshot is what a Memory held at some moment.
type Snapshot struct {
	m     *Memory
	bytes []byte
}

// Snapshot takes a copy of all of the Memory, heap and the rest.
func (m *Memory) Snapshot() *Snapshot {
	return &Snapshot{m, m.Read(m.addr, m.end-m.addr)}
}

// Fill overwrites all of the Memory that Alloc has not given away yet with a pattern, so that a
// Snapshot notices bytes that are written there, zeros included.
func (m *Memory) Fill() {
	p := make([]byte, m.end-m.next)
	for i := range p {
		p[i] = 0xa5 ^ byte(i*7)
	}
	m.Write(m.next, p)
}

// Changed is an error that names the first byte that is not what it was, outside of the
// pieces that the device was free to write; else nil.
func (s *Snapshot) Changed(free ...Range) error {
	now := s.m.Read(s.m.addr, uint64(len(s.bytes)))
next:
	for i, was := range s.bytes {
		if now[i] == was {
			continue
		}
		addr := s.m.addr + uint64(i)
		for _, r := range free {
			if addr-r.Addr < r.Len {
				continue next
			}
		}
		return fmt.Errorf("the byte at %#x was %#02x and is %#02x", addr, was, now[i])
	}
	return nil
}
