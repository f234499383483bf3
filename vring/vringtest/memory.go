package vringtest

import (
	"fmt"

	"github.com/hypervisorless/virtio/shmem"
)

// Memory is the memory of a driver: a Space that the device sees too, and a heap in one range
// of it that only grows.
type Memory struct {
	// Space is what a device under test is to be given.
	Space *shmem.Space

	addr, next, end uint64
}

// NewMemory makes a Region the driver's memory, at the given driver address.
func NewMemory(r *shmem.Region, addr uint64) *Memory {
	space, err := shmem.NewSpace(shmem.Window{Addr: addr, Region: r})
	if err != nil {
		panic(err)
	}
	return Within(space, addr, r.Size())
}

// Within makes [addr, addr+n) of a Space the driver's memory.
func Within(space *shmem.Space, addr, n uint64) *Memory {
	m := &Memory{Space: space, addr: addr, next: addr, end: addr + n}
	m.Span(addr, n)
	return m
}

// Alloc takes n bytes at a multiple of align, a power of two, from the heap.
func (m *Memory) Alloc(n, align uint64) (addr uint64) {
	addr = (m.next + align - 1) &^ (align - 1)
	if addr > m.end || n > m.end-addr {
		panic(fmt.Sprintf("vringtest: no room for %d bytes, %d are left", n, m.end-m.next))
	}
	m.next = addr + n
	return addr
}

// Buffer takes room for p from the heap and puts p there, at any alignment.
func (m *Memory) Buffer(p []byte) (addr uint64) {
	addr = m.Alloc(uint64(len(p)), 1)
	m.Write(addr, p)
	return addr
}

// Write puts p at addr.
func (m *Memory) Write(addr uint64, p []byte) { m.Span(addr, uint64(len(p))).WriteAt(p, 0) }

// Read is a copy of the n bytes at addr.
func (m *Memory) Read(addr, n uint64) []byte {
	p := make([]byte, n)
	m.Span(addr, n).ReadAt(p, 0)
	return p
}

// Span is the memory at [addr, addr+n), for accesses of a certain width or order.
func (m *Memory) Span(addr, n uint64) shmem.Span {
	s, err := m.Space.Span(addr, n)
	if err != nil {
		panic(err)
	}
	return s
}
