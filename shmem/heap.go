package shmem

import "unsafe"

// NewHeap is zeroed Normal memory of this process, for tests and in-process pairs. Being Go
// memory, it lets the race detector see what happens on it.
func NewHeap(size int) *Region {
	const page = 4096
	words := make([]uint64, (size+2*page)/8)
	base := unsafe.Pointer(unsafe.SliceData(words))
	base = unsafe.Add(base, -uintptr(base)&(page-1)) // as a mapping would be
	return &Region{base: base, size: uint64(size), kind: Normal, width: 8, sealed: true, name: "heap"}
}
