package shmem

import (
	"errors"
	"math"
	"strings"
	"testing"
)

// mustSpan is the whole of a Region.
func mustSpan(t testing.TB, r *Region, err error) Span {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := r.Span(0, r.Size())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mustMemfd is the whole of a memfd: memory that, unlike the heap, the race detector does not
// watch, so that plain and atomic accesses may meet as they do on a ring.
func mustMemfd(t testing.TB, size int64) Span {
	t.Helper()
	r, err := NewMemfd(t.Name(), size)
	return mustSpan(t, r, err)
}

func TestDRV_06_Translation(t *testing.T) {
	const (
		page = 4096
		top  = math.MaxUint64 - page + 1 // the last page of all
	)
	low, high, last := NewHeap(2*page), NewHeap(4*page), NewHeap(page)
	space, err := NewSpace(
		Window{Addr: 0x9000, Region: high, Off: page, Size: 2 * page}, // adjoins the next but one
		Window{Addr: top, Region: last},
		Window{Addr: 0x7000, Region: low},
		Window{Addr: 0x20000, Region: high, Off: 3 * page},
	)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		addr, n uint64
		region  *Region // nil where nothing is at addr
		off     uint64  // of addr into the Region
		prefix  uint64  // how much of n its window has: all of it, or there is no Span
	}{
		{"first byte", 0x7000, 1, low, 0, 1},
		{"first byte of none", 0x7000, 0, low, 0, 0},
		{"inside", 0x7123, 0x321, low, 0x123, 0x321},
		{"whole window", 0x7000, 2 * page, low, 0, 2 * page},
		{"last byte", 0x8fff, 1, low, 2*page - 1, 1},
		{"one past the last byte, the next window's first", 0x9000, 1, high, page, 1},
		{"across two adjoining windows", 0x8fff, 2, low, 2*page - 1, 1},
		{"offset into the region", 0x9010, 16, high, page + 16, 16},
		{"last byte of a window that ends before its region", 0xafff, 1, high, 3*page - 1, 1},
		{"into the hole", 0xafff, 2, high, 3*page - 1, 1},
		{"in the hole", 0xb000, 1, nil, 0, 0},
		{"in the hole, none", 0xb000, 0, nil, 0, 0},
		{"across the hole", 0xa000, 0x20000 - 0xa000 + 1, high, 2 * page, page},
		{"below every window", 0x6fff, 2, nil, 0, 0},
		{"address 0", 0, 1, nil, 0, 0},
		{"size to the region's end", 0x20000, page, high, 3 * page, page},
		{"one past that", 0x20000, page + 1, high, 3 * page, page},
		{"top of the address space", top, page, last, 0, page},
		{"very last byte", math.MaxUint64, 1, last, page - 1, 1},
		{"wraps from the top", math.MaxUint64, 2, last, page - 1, 1},
		{"wraps to the first window", top, 0x7000 + page + 1, last, 0, page},
		{"wraps to just before itself", 0x7000, math.MaxUint64, low, 0, 2 * page},
		{"wraps to itself", 0x7001, math.MaxUint64, low, 1, 2*page - 1},
		{"sum is 0", 0x7000, math.MaxUint64 - 0x7000 + 1, low, 0, 2 * page},
		{"below, and wraps", 0x6000, math.MaxUint64, nil, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			span, err := space.Span(tt.addr, tt.n)
			if tt.region != nil && tt.prefix == tt.n {
				wantSpan(t, span, err, tt.region, tt.off, tt.n)
			} else {
				wantRangeError(t, span, err, tt.addr, tt.n)
			}
			prefix, err := space.Prefix(tt.addr, tt.n)
			if tt.region != nil {
				wantSpan(t, prefix, err, tt.region, tt.off, tt.prefix)
			} else {
				wantRangeError(t, prefix, err, tt.addr, tt.n)
			}
		})
	}
}

func wantSpan(t *testing.T, got Span, err error, r *Region, off, n uint64) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	want, err := r.Span(off, n)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("got %d bytes at %#x into %s, want %d at %#x into %s", got.n,
			uintptr(got.p)-uintptr(got.r.base), got.r, n, off, r)
	}
}

func wantRangeError(t *testing.T, got Span, err error, addr, n uint64) {
	t.Helper()
	if got != (Span{}) {
		t.Errorf("got %d bytes, want none", got.n)
	}
	var e *RangeError
	if !errors.As(err, &e) || e.Addr != addr || e.Len != n {
		t.Errorf("error is %v, want a *RangeError of %d bytes at %#x", err, n, addr)
	}
}

func TestSpace_Refuses(t *testing.T) {
	const page = 4096
	r := NewHeap(2 * page)
	tests := []struct {
		name    string
		windows []Window
		want    string // "" for good
	}{
		{"nothing", nil, "at least one window"},
		{"too large", []Window{{Addr: 0x1000, Region: r, Size: 2*page + 1}}, "8193 bytes at 0x0 are outside heap"},
		{"offset outside", []Window{{Addr: 0x1000, Region: r, Off: 3 * page}}, "outside heap"},
		{"offset and size wrap", []Window{{Addr: 0x1000, Region: r, Off: page, Size: math.MaxUint64 - page + 2}}, "outside heap"},
		{"empty", []Window{{Addr: 0x1000, Region: r, Off: 2 * page}}, "empty"},
		{"wraps", []Window{{Addr: math.MaxUint64 - page + 1, Region: r}}, "wraps around"},
		{"overlap", []Window{{Addr: 0x2000, Region: r}, {Addr: 0x1000, Region: r, Size: page + 1}}, "0x1000 and 0x2000 overlap"},
		{"twice", []Window{{Addr: 0x1000, Region: r}, {Addr: 0x1000, Region: r}}, "overlap"},
		{"alignment differs", []Window{{Addr: 0x1008, Region: r}}, "agree modulo 16"},
		{"alignment agrees", []Window{{Addr: 0x1010, Region: r}}, ""},
		{"offset makes up for it", []Window{{Addr: 0x1008, Region: r, Off: 8}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			space, err := NewSpace(tt.windows...)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want == "":
			case space != nil || err == nil || !strings.Contains(err.Error(), tt.want):
				t.Errorf("error is %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestSpace_Sealed(t *testing.T) {
	file, err := OpenFile(t.TempDir()+"/window", 4096)
	mustSpan(t, file, err)
	for _, tt := range []struct {
		want    bool
		windows []Window
	}{
		{true, []Window{{Addr: 0x1000, Region: NewHeap(4096)}, {Addr: 0x3000, Region: mustMemfd(t, 4096).r}}},
		{false, []Window{{Addr: 0x1000, Region: NewHeap(4096)}, {Addr: 0x3000, Region: file}}},
		{false, []Window{{Addr: 0x3000, Region: NewHeap(4096)}, {Addr: 0x1000, Region: file}}},
	} {
		space, err := NewSpace(tt.windows...)
		if err != nil {
			t.Fatal(err)
		}
		if got := space.Sealed(); got != tt.want {
			t.Errorf("Sealed is %v over %s and %s", got, tt.windows[0].Region, tt.windows[1].Region)
		}
	}
}

func TestSpace_NoAllocation(t *testing.T) {
	space, err := NewSpace(Window{Addr: 0x1000, Region: NewHeap(4096)}, Window{Addr: 0x4000, Region: NewHeap(4096)})
	if err != nil {
		t.Fatal(err)
	}
	allocs := testing.AllocsPerRun(100, func() {
		span, err := space.Span(0x4100, 256)
		if err != nil {
			t.Fatal(err)
		}
		prefix, err := space.Prefix(0x4100, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		sink += span.Len() + prefix.Len()
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
