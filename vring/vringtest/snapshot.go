package vringtest

import (
	"bytes"
	"fmt"
	"slices"
)

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
	was, now := s.bytes, s.m.Read(s.m.addr, uint64(len(s.bytes)))
	for i := 0; i < len(was); i++ {
		const piece = 256
		for i+piece <= len(was) && bytes.Equal(was[i:i+piece], now[i:i+piece]) {
			i += piece
		}
		if i == len(was) || was[i] == now[i] {
			continue
		}
		addr := s.m.addr + uint64(i)
		if !slices.ContainsFunc(free, func(r Range) bool { return addr-r.Addr < r.Len }) {
			return fmt.Errorf("the byte at %#x was %#02x and is %#02x", addr, was[i], now[i])
		}
	}
	return nil
}
