package shmem

import (
	"fmt"
	"unsafe"
)

// Strict watches a Region made by NewStrict: it keeps count of the block-copy accesses by
// width, so that a test can say which ones were made.
type Strict struct {
	// Width counts accesses of 1, 2, 4 and 8 bytes at index 0 to 3.
	Width [4]uint64
	max   uint64
}

func (s *Strict) note(off uintptr, width uint64) {
	if width > s.max || uint64(off)&(width-1) != 0 {
		panic(&AccessError{Op: "block copy", Off: uint64(off), Width: width, Len: s.max})
	}
	for i := range s.Width {
		if width == 1<<i {
			s.Width[i]++
		}
	}
}

// NewStrict is heap memory that behaves like Device memory on a bus of the given width (4 or
// 8 bytes): what the board would fault on panics with an *AccessError, so go test finds it.
func NewStrict(size int, width int) (*Region, *Strict) {
	r := NewHeap(size)
	r.name = "strict"
	r.kind = Device
	r.width = uint8(width)
	r.strict = &Strict{max: uint64(width)}
	return r, r.strict
}

// NewHeap is zeroed Normal memory of this process, for tests and in-process pairs.
func NewHeap(size int) *Region {
	const page = 4096
	words := make([]uint64, (size+2*page)/8)
	base := unsafe.Pointer(unsafe.SliceData(words))
	base = unsafe.Add(base, -uintptr(base)&(page-1)) // as a mapping would be
	return &Region{base: base, size: uint64(size), kind: Normal, width: 8, sealed: true, name: "heap"}
}

// AccessError is the panic value of an access that breaks the rules of the memory or the
// bounds of a Span: always a bug of this program, never of the driver.
type AccessError struct {
	Op    string
	Off   uint64
	Width uint64
	Len   uint64
}

func (e *AccessError) Error() string {
	return fmt.Sprintf("shmem: %s of %d bytes at offset %#x of %d is not allowed", e.Op, e.Width, e.Off, e.Len)
}
