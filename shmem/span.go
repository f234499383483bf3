package shmem

import (
	"sync/atomic"
	"unsafe"
)

// Span is a piece of a Region. The zero Span is empty. Offsets are bytes from its start; an
// access outside the Span or off its natural alignment is a bug of the caller, not of the
// driver, and panics with an *AccessError. Spans are values: copy them freely. Their methods
// may be called from any goroutine; what two of them do to the same bytes is up to the bytes'
// owners.
//
// Load32, Load16 and Store32 are sequentially consistent among each other (Go's sync/atomic);
// the Plain accesses are single machine accesses without order of their own.
type Span struct {
	p unsafe.Pointer
	n uint64
	r *Region
}

// Len is the length in bytes.
func (s Span) Len() uint64 { return s.n }

// Kind is the kind of the memory; Normal for the zero Span.
func (s Span) Kind() Kind {
	if s.r == nil {
		return Normal
	}
	return s.r.kind
}

// Aligned reports whether the Span starts at a multiple of n, a power of two.
func (s Span) Aligned(n uint64) bool { return uint64(uintptr(s.p))&(n-1) == 0 }

// Slice is the piece [off, off+n) of the Span.
func (s Span) Slice(off, n uint64) Span {
	if off > s.n || n > s.n-off {
		panic(&AccessError{Op: "slice", Off: off, Width: n, Len: s.n})
	}
	return Span{p: unsafe.Add(s.p, off), n: n, r: s.r}
}

// at is kept small enough to be inlined with its caller: hence a panic value made beforehand,
// since one with the figures costs the good path half its speed in spilled registers. The two
// comparisons of the bounds cannot overflow, whatever off is.
func (s *Span) at(off, width uint64) unsafe.Pointer {
	if s.n < width || off > s.n-width || (uint64(uintptr(s.p))+off)&(width-1) != 0 {
		panic(errWord)
	}
	return unsafe.Add(s.p, off)
}

var errWord = &AccessError{Op: "word access outside its span or off its natural alignment"}

// Load32 is an atomic load with acquire semantics.
func (s Span) Load32(off uint64) uint32 { return atomic.LoadUint32((*uint32)(s.at(off, 4))) }

// Store32 is an atomic store with release semantics; a later Load32 or Load16 is ordered
// after it.
func (s Span) Store32(off uint64, v uint32) { atomic.StoreUint32((*uint32)(s.at(off, 4)), v) }

// Load16 is an atomic load with acquire semantics, done as a load of the aligned 32-bit word
// around the value: Go has no 16-bit atomics. The word may reach two bytes out of the Span, but
// never across a page.
func (s Span) Load16(off uint64) uint16 {
	p := s.at(off, 2)
	half := uintptr(p) & 2
	return uint16(atomic.LoadUint32((*uint32)(unsafe.Add(p, -int(half)))) >> (half * 8))
}

// Store16Plain is one 16-bit store. It is not ordered with anything: follow it with a
// Fence.StoreLoad where that matters.
func (s Span) Store16Plain(off uint64, v uint16) { *(*uint16)(s.at(off, 2)) = v }

// Store32Plain is one 32-bit store without order of its own.
func (s Span) Store32Plain(off uint64, v uint32) { *(*uint32)(s.at(off, 4)) = v }

// Load16Plain is one 16-bit load without order of its own.
func (s Span) Load16Plain(off uint64) uint16 { return *(*uint16)(s.at(off, 2)) }

// Load64Plain loads eight bytes without order of its own: one access, or two where the bus is
// only four bytes wide. Each byte is read once.
func (s Span) Load64Plain(off uint64) uint64 {
	p := s.at(off, 8)
	if s.r.width < 8 {
		// Atomics, since the compiler joins two plain loads of neighbours into one of eight bytes.
		return uint64(atomic.LoadUint32((*uint32)(p))) | uint64(atomic.LoadUint32((*uint32)(unsafe.Add(p, 4))))<<32
	}
	return *(*uint64)(p)
}

// Store64Plain stores eight bytes without order of its own: one access, or two where the bus
// is only four bytes wide.
func (s Span) Store64Plain(off uint64, v uint64) {
	p := s.at(off, 8)
	if s.r.width < 8 {
		// Atomics, as in Load64Plain.
		atomic.StoreUint32((*uint32)(p), uint32(v))
		atomic.StoreUint32((*uint32)(unsafe.Add(p, 4)), uint32(v>>32))
		return
	}
	*(*uint64)(p) = v
}

// CompareAndSwap32 is an atomic read-modify-write. Only Normal memory has one: elsewhere it
// panics with an *AccessError, as the hardware would fault.
func (s Span) CompareAndSwap32(off uint64, old, new uint32) bool {
	p := s.at(off, 4)
	if !s.r.kind.CompareAndSwap() {
		panic(&AccessError{Op: "compare-and-swap on " + s.r.kind.String() + " memory", Off: off, Width: 4, Len: s.n})
	}
	return atomic.CompareAndSwapUint32((*uint32)(p), old, new)
}

// Bytes is the memory itself, for system calls straight into it. ok is false where only the
// aligned copies of ReadAt and WriteAt are legal.
func (s Span) Bytes() (b []byte, ok bool) {
	if s.n == 0 || s.r.kind == Device {
		return nil, s.n == 0
	}
	return unsafe.Slice((*byte)(s.p), s.n), true
}
