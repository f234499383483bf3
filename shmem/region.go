package shmem

import (
	"fmt"
	"os"
	"unsafe"
)

// Region is one mapping of memory that the driver side sees too. Its address, size and Kind
// never change. All methods but Close are safe for concurrent use; Close may be called once
// everything that took a Span of the Region has stopped.
type Region struct {
	base    unsafe.Pointer
	size    uint64
	kind    Kind
	width   uint8 // widest access allowed, in bytes: 8, or 4 on a narrow bus
	sealed  bool  // the mapping cannot vanish while it is open
	name    string
	file    *os.File     // nil for heap memory
	strict  *Strict      // non-nil only for NewStrict
	release func() error // nil for heap memory
}

// Size is the length of the mapping in bytes.
func (r *Region) Size() uint64 { return r.size }

// Kind is the kind of memory behind the mapping.
func (r *Region) Kind() Kind { return r.kind }

// As is the same mapping under another Kind, for the integrator who knows better than the
// function that opened it: a UIO driver that maps write-combining is Uncached, one that maps
// RAM cached is Normal. Nothing checks the claim, and a wrong one ends in bus errors. Closing
// either Region closes both.
func (r *Region) As(kind Kind) *Region {
	as := *r
	as.kind = kind
	return &as
}

// Sealed reports whether the mapping is guaranteed to stay: a memfd sealed against shrinking,
// or heap memory. Everything else can be truncated or unbound under us.
func (r *Region) Sealed() bool { return r.sealed }

// String names the memory for messages: the path, or "heap".
func (r *Region) String() string { return r.name }

// File is the open file behind the mapping, to pass it to another process; nil for the heap.
// It belongs to the Region.
func (r *Region) File() *os.File { return r.file }

// Close unmaps the memory and closes the file behind it. Closing again does nothing.
func (r *Region) Close() error {
	if r.release == nil {
		return nil
	}
	return r.release()
}

// Span is the piece [off, off+n) of the Region, or a *RangeError when it does not lie inside.
func (r *Region) Span(off, n uint64) (Span, error) {
	if off > r.size || n > r.size-off {
		return Span{}, &RangeError{Addr: off, Len: n, Where: r.name}
	}
	return Span{p: unsafe.Add(r.base, off), n: n, r: r}, nil
}

// RangeError reports an address range that is not inside the memory it was looked up in.
type RangeError struct {
	Addr  uint64 // driver address, or offset where a Region was asked
	Len   uint64 // in bytes
	Where string // the memory, as a person would name it
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("%d bytes at %#x are outside %s", e.Len, e.Addr, e.Where)
}
