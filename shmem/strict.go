package shmem

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// Strict watches a Region made by NewStrict: it keeps count of the block-copy accesses by
// width, so that a test can say which ones were made.
type Strict struct {
	// Width counts accesses of 1, 2, 4 and 8 bytes at index 0 to 3. Read it when the copies
	// are done.
	Width [4]uint64
}

// check panics with an *AccessError where the hardware would fault. It stays out of the copies,
// which are the shipping code.
//
//go:noinline
func (s *Strict) check(r *Region, p unsafe.Pointer, width uint64) {
	off := uint64(uintptr(p) - uintptr(r.base))
	if width > uint64(r.width) || off&(width-1) != 0 || off > r.size || width > r.size-off {
		panic(&AccessError{Op: "block copy", Off: off, Width: width, Len: r.size})
	}
	atomic.AddUint64(&s.Width[bits.TrailingZeros64(width)], 1)
}

// NewStrict is heap memory that behaves like Device memory on a bus of the given width (4 or
// 8 bytes): what the board would fault on panics with an *AccessError, so go test finds it.
func NewStrict(size int, width int) (*Region, *Strict) {
	if width != 4 && width != 8 {
		panic(fmt.Sprintf("shmem: a strict Region is 4 or 8 bytes wide, not %d", width))
	}
	r := NewHeap(size)
	r.name = "strict"
	r.kind = Device
	r.width = uint8(width)
	r.strict = &Strict{}
	return r, r.strict
}

// AccessError is the panic value of an access that breaks the rules of the memory or the
// bounds of a Span: always a bug of this program, never of the driver.
type AccessError struct {
	Op    string // what was refused
	Off   uint64 // in bytes
	Width uint64 // in bytes; 0 where Op says it all
	Len   uint64 // of the Span or Region, in bytes
}

func (e *AccessError) Error() string {
	if e.Width == 0 {
		return "shmem: " + e.Op
	}
	return fmt.Sprintf("shmem: %s of %d bytes at offset %#x of %d is not allowed", e.Op, e.Width, e.Off, e.Len)
}
