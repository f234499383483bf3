package vringtest

import (
	"encoding/binary"

	"github.com/hypervisorless/virtio/vring"
)

// Desc is one descriptor as it stands in a table (2.7.5).
type Desc struct {
	Addr  uint64
	Len   uint32
	Flags uint16 // vring.DescNext, …
	Next  uint16
}

// Readable describes a buffer that the device may read.
func Readable(addr uint64, n uint32) Desc { return Desc{Addr: addr, Len: n} }

// Writable describes a buffer that the device may write.
func Writable(addr uint64, n uint32) Desc {
	return Desc{Addr: addr, Len: n, Flags: vring.DescWrite}
}

// Split cuts the buffer of d into descriptors of n bytes at most: same bytes, other framing.
func Split(d Desc, n uint32) []Desc {
	var all []Desc
	for d.Len > n {
		all = append(all, Desc{Addr: d.Addr, Len: n, Flags: d.Flags})
		d.Addr, d.Len = d.Addr+uint64(n), d.Len-n
	}
	return append(all, d)
}

// Table puts an indirect table of these descriptors, chained one after the other, on the heap
// and returns the descriptor that refers to it (2.7.5.3).
func (m *Memory) Table(d ...Desc) Desc {
	return m.TableAt(m.Alloc(16*uint64(len(d)), 16), d...)
}

// TableAt is Table at an address of the caller's, aligned or not.
func (m *Memory) TableAt(addr uint64, d ...Desc) Desc {
	m.Write(addr, encode(link(0, 1<<16, d)))
	return Desc{Addr: addr, Len: 16 * uint32(len(d)), Flags: vring.DescIndirect}
}

// link chains descriptors that stand in consecutive entries of a table, from entry first on.
func link(first, size int, d []Desc) []Desc {
	linked := make([]Desc, len(d))
	for i := range d {
		linked[i] = d[i]
		if i < len(d)-1 {
			linked[i].Flags |= vring.DescNext
			linked[i].Next = uint16((first + i + 1) % size)
		}
	}
	return linked
}

func encode(d []Desc) []byte {
	p := make([]byte, 0, 16*len(d))
	for _, d := range d {
		p = binary.LittleEndian.AppendUint64(p, d.Addr)
		p = binary.LittleEndian.AppendUint32(p, d.Len)
		p = binary.LittleEndian.AppendUint16(p, d.Flags)
		p = binary.LittleEndian.AppendUint16(p, d.Next)
	}
	return p
}

func decode(p []byte) Desc {
	return Desc{
		Addr:  binary.LittleEndian.Uint64(p),
		Len:   binary.LittleEndian.Uint32(p[8:]),
		Flags: binary.LittleEndian.Uint16(p[12:]),
		Next:  binary.LittleEndian.Uint16(p[14:]),
	}
}
