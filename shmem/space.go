package shmem

import (
	"cmp"
	"fmt"
	"slices"
	"unsafe"
)

// Window places a part of a Region at a driver address.
type Window struct {
	Addr   uint64 // driver (physical) address of the first byte
	Region *Region
	Off    uint64 // into the Region
	Size   uint64 // bytes; 0 means up to the end of the Region
}

// Space turns a driver's addresses into Spans. It is immutable: look-ups take no lock and
// allocate only to report an error. Safe for concurrent use.
type Space struct {
	windows []placed
	sealed  bool
}

type placed struct {
	addr uint64
	span Span
}

// strictest is the alignment of a descriptor table, the strictest of a ring (virtio 1.4, 2.7).
const strictest = 16

// NewSpace checks that the windows lie inside their Regions, do not wrap around and do not
// overlap, and that what is aligned at a driver address (to 16 bytes) is aligned here too.
func NewSpace(windows ...Window) (*Space, error) {
	if len(windows) == 0 {
		return nil, fmt.Errorf("shmem: a space needs at least one window")
	}
	s := &Space{sealed: true}
	for _, w := range windows {
		if w.Size == 0 && w.Off < w.Region.size {
			w.Size = w.Region.size - w.Off
		}
		span, err := w.Region.Span(w.Off, w.Size)
		if err != nil {
			return nil, fmt.Errorf("shmem: window at %#x: %w", w.Addr, err)
		}
		if w.Size == 0 || w.Addr+(w.Size-1) < w.Addr {
			return nil, fmt.Errorf("shmem: window at %#x of %d bytes is empty or wraps around", w.Addr, w.Size)
		}
		if (w.Addr-uint64(uintptr(span.p)))%strictest != 0 {
			return nil, fmt.Errorf("shmem: window at %#x: %#x into %s is aligned otherwise than that address: they must agree modulo %d",
				w.Addr, w.Off, w.Region, strictest)
		}
		s.windows = append(s.windows, placed{w.Addr, span})
		s.sealed = s.sealed && w.Region.sealed
	}
	slices.SortFunc(s.windows, func(a, b placed) int { return cmp.Compare(a.addr, b.addr) })
	for i := 1; i < len(s.windows); i++ {
		a, b := s.windows[i-1], s.windows[i]
		if b.addr-a.addr < a.span.n {
			return nil, fmt.Errorf("shmem: windows at %#x and %#x overlap", a.addr, b.addr)
		}
	}
	return s, nil
}

// Sealed reports whether every Region of the Space is Sealed.
func (s *Space) Sealed() bool { return s.sealed }

// Span is the memory at [addr, addr+n), which must lie in one window; else a *RangeError.
func (s *Space) Span(addr, n uint64) (Span, error) {
	span, err := s.Prefix(addr, n)
	if err == nil && span.n < n {
		return Span{}, &RangeError{Addr: addr, Len: n, Where: "any one window"}
	}
	return span, err
}

// Prefix is the memory at addr, up to n bytes, as far as its window goes: at least one byte
// unless n is 0. A buffer across two adjoining windows is two Prefixes.
func (s *Space) Prefix(addr, n uint64) (Span, error) {
	for i := range s.windows {
		w := &s.windows[i]
		if off := addr - w.addr; off < w.span.n { // addr below the window wraps to a huge offset
			n = min(n, w.span.n-off)
			return Span{p: unsafe.Add(w.span.p, off), n: n, r: w.span.r}, nil
		}
	}
	return Span{}, &RangeError{Addr: addr, Len: n, Where: "the shared windows"}
}
