package shmem

import (
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

// words are the single accesses, each with its width.
var words = []struct {
	name  string
	width uint64
	do    func(s Span, off uint64)
}{
	{"Load16", 2, func(s Span, off uint64) { s.Load16(off) }},
	{"Load16Plain", 2, func(s Span, off uint64) { s.Load16Plain(off) }},
	{"Store16Plain", 2, func(s Span, off uint64) { s.Store16Plain(off, 1) }},
	{"Load32", 4, func(s Span, off uint64) { s.Load32(off) }},
	{"Store32", 4, func(s Span, off uint64) { s.Store32(off, 1) }},
	{"Store32Plain", 4, func(s Span, off uint64) { s.Store32Plain(off, 1) }},
	{"CompareAndSwap32", 4, func(s Span, off uint64) { s.CompareAndSwap32(off, 0, 1) }},
	{"Load64Plain", 8, func(s Span, off uint64) { s.Load64Plain(off) }},
	{"Store64Plain", 8, func(s Span, off uint64) { s.Store64Plain(off, 1) }},
}

// refused is the *AccessError that do panics with, or nil.
func refused(t *testing.T, do func()) (e *AccessError) {
	t.Helper()
	defer func() {
		v := recover()
		var ok bool
		if e, ok = v.(*AccessError); v != nil && !ok {
			panic(v)
		}
	}()
	do()
	return nil
}

func TestSpan_Words(t *testing.T) {
	whole := mustSpan(t, NewHeap(4096), nil)
	for _, w := range words {
		t.Run(w.name, func(t *testing.T) {
			for _, base := range []uint64{64, 65, 66, 68} { // spans that start aligned to 8, 1, 2, 4
				s := whole.Slice(base, 64)
				offs := []uint64{100, 4096, math.MaxInt64, math.MaxInt64 + 1}
				for off := uint64(0); off <= 72; off++ {
					// -off makes off+width small again.
					offs = append(offs, off, -off)
				}
				for _, off := range offs {
					good := off <= 64-w.width && (base+off)%w.width == 0
					if e := refused(t, func() { w.do(s, off) }); (e == nil) != good {
						t.Errorf("at %#x in a span at %d: %v", off, base, e)
					}
				}
			}
			if e := refused(t, func() { w.do(Span{}, 0) }); e == nil {
				t.Error("allowed in the zero span")
			}
			if e := refused(t, func() { w.do(whole.Slice(0, w.width-1), 0) }); e == nil {
				t.Error("allowed in a span shorter than the word")
			}
		})
	}
}

func TestSpan_Blocks(t *testing.T) {
	const max = math.MaxUint64
	s := mustSpan(t, NewHeap(4096), nil).Slice(64, 64)
	tests := []struct {
		off, n uint64
		good   bool
	}{
		{0, 64, true}, {63, 1, true}, {64, 0, true}, {0, 0, true},
		{0, 65, false}, {64, 1, false}, {1, 64, false}, {65, 0, false},
		{max, 1, false}, {max, 2, false}, {1, max, false}, {max, max, false}, {max - 63, 64, false},
	}
	for _, tt := range tests {
		blocks := map[string]func(){
			"Slice": func() { s.Slice(tt.off, tt.n) },
		}
		if tt.n > 0 {
			blocks["Zero"] = func() { s.Zero(tt.off, tt.n) }
			if tt.n < 4096 {
				blocks["ReadAt"] = func() { s.ReadAt(make([]byte, tt.n), tt.off) }
				blocks["WriteAt"] = func() { s.WriteAt(make([]byte, tt.n), tt.off) }
			}
		}
		for name, do := range blocks {
			if e := refused(t, do); (e == nil) != tt.good {
				t.Errorf("%s of %d at %#x: %v", name, tt.n, tt.off, e)
			}
		}
	}
}

// What is stored is what a byte-wise look and the loads see, in the bytes meant and no others.
func TestSpan_Values(t *testing.T) {
	for _, tt := range []struct {
		name  string
		store func(s Span)
		width int
		load  func(s Span) uint64
	}{
		{"Store16Plain, Load16", func(s Span) { s.Store16Plain(8, 0x0201) }, 2, func(s Span) uint64 { return uint64(s.Load16(8)) }},
		{"Store16Plain, Load16Plain", func(s Span) { s.Store16Plain(8, 0x0201) }, 2, func(s Span) uint64 { return uint64(s.Load16Plain(8)) }},
		{"Store32, Load32", func(s Span) { s.Store32(8, 0x04030201) }, 4, func(s Span) uint64 { return uint64(s.Load32(8)) }},
		{"Store32Plain, Load32", func(s Span) { s.Store32Plain(8, 0x04030201) }, 4, func(s Span) uint64 { return uint64(s.Load32(8)) }},
		{"Store64Plain, Load64Plain", func(s Span) { s.Store64Plain(8, 0x0807060504030201) }, 8, func(s Span) uint64 { return s.Load64Plain(8) }},
	} {
		strict4, _ := NewStrict(64, 4)
		strict8, _ := NewStrict(64, 8)
		for _, r := range []*Region{NewHeap(64), strict4, strict8} {
			s := mustSpan(t, r, nil)
			for i := range s.Len() {
				s.WriteAt([]byte{0xee}, i)
			}
			tt.store(s)
			var want uint64
			for i := range s.Len() {
				b := byte(0xee)
				if i >= 8 && i < 8+uint64(tt.width) {
					b = byte(i - 7)
					want |= uint64(b) << (8 * (i - 8))
				}
				var got [1]byte
				if s.ReadAt(got[:], i); got[0] != b {
					t.Errorf("%s on %s memory: byte %d is %#x, want %#x", tt.name, r, i, got[0], b)
				}
			}
			if got := tt.load(s); got != want {
				t.Errorf("%s on %s memory: got %#x, want %#x", tt.name, r, got, want)
			}
		}
	}
}

func TestLoad16_Halves(t *testing.T) {
	s := mustSpan(t, NewHeap(4096), nil)
	s.WriteAt([]byte{0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08}, 0)
	for off, want := range map[uint64]uint16{0: 0x0201, 2: 0x0403, 4: 0x0605, 6: 0x0807} {
		if got := s.Load16(off); got != want {
			t.Errorf("at %d: %#x, want %#x", off, got, want)
		}
		// The half has to come from the address, not from the offset into a Span.
		if off >= 2 {
			if got := s.Slice(2, 62).Load16(off - 2); got != want {
				t.Errorf("at %d of a span at 2: %#x, want %#x", off-2, got, want)
			}
		}
		// The rest of the word may lie outside.
		if got := s.Slice(off, 2).Load16(0); got != want {
			t.Errorf("at %d, alone: %#x, want %#x", off, got, want)
		}
	}
}

// The word around a value at the end of a page does not reach into the next one.
func TestLoad16_Page(t *testing.T) {
	r, err := OpenFile(filepath.Join(t.TempDir(), "window"), 2*page)
	s := mustSpan(t, r, err)
	if err := r.File().Truncate(page); err != nil {
		t.Fatal(err)
	}
	end := uint64(page)
	s.Store16Plain(end-2, 0x1234)
	for _, start := range []uint64{0, 1, 2, 3, end - 2} {
		var got uint16
		if err := guarded(func() { got = s.Slice(start, end-start).Load16(end - 2 - start) }); err != nil || got != 0x1234 {
			t.Errorf("in a span at %d: %#x, %v", start, got, err)
		}
	}
}

// A 16-bit store is seen whole or not at all, and its neighbour in the word is left alone, by a
// reader that loads the whole word.
func TestStore16_Tear(t *testing.T) {
	const neighbour, rounds = 0x1234, 1 << 20
	for name, off := range map[string]uint64{"low half": 0, "high half": 2} {
		t.Run(name, func(t *testing.T) {
			s := mustMemfd(t, 4096)
			s.Store16Plain(off^2, neighbour)
			var wg sync.WaitGroup
			var stop atomic.Bool
			wg.Go(func() {
				for v := uint16(0); !stop.Load(); v = ^v {
					s.Store16Plain(off, v)
				}
			})
			defer wg.Wait()
			defer stop.Store(true)
			var zeros int
			for range rounds {
				switch v := s.Load16(off); v {
				case 0:
					zeros++
				case math.MaxUint16:
				default:
					t.Fatalf("torn: %#x", v)
				}
				if v := s.Load16(off ^ 2); v != neighbour {
					t.Fatalf("the neighbour became %#x", v)
				}
			}
			t.Logf("%d times 0, %d times 0xffff", zeros, rounds-zeros)
		})
	}
}

func TestCompareAndSwap32(t *testing.T) {
	for _, kind := range []Kind{Normal, Uncached, Device} {
		s := mustSpan(t, NewHeap(64).As(kind), nil)
		s.Store32(8, 7)
		var no, yes bool
		e := refused(t, func() {
			no = s.CompareAndSwap32(8, 6, 9)
			yes = s.CompareAndSwap32(8, 7, 9)
		})
		want := uint32(9)
		if kind != Normal {
			want = 7
			if wantErr := "shmem: compare-and-swap on " + kind.String() + " memory of 4 bytes at offset 0x8 of 64 is not allowed"; fmt.Sprint(e) != wantErr {
				t.Errorf("%s: refused with %v, want %q", kind, e, wantErr)
			}
		} else if no || !yes || e != nil {
			t.Errorf("%s: swapped %v then %v, %v", kind, no, yes, e)
		}
		if got := s.Load32(8); got != want {
			t.Errorf("%s: word is %d, want %d", kind, got, want)
		}
	}
}

func TestSpan_Bytes(t *testing.T) {
	for kind, want := range map[Kind]bool{Normal: true, Uncached: true, Device: false} {
		s := mustSpan(t, NewHeap(64).As(kind), nil).Slice(8, 16)
		b, ok := s.Bytes()
		if ok != want || ok && (len(b) != 16 || unsafe.Pointer(&b[0]) != s.p) || !ok && b != nil {
			t.Errorf("%s: %d bytes, %v", kind, len(b), ok)
		}
		if b, ok := s.Slice(3, 0).Bytes(); len(b) != 0 || !ok {
			t.Errorf("%s: none of the bytes is %d, %v", kind, len(b), ok)
		}
	}
}

func TestSpan_Zero(t *testing.T) {
	var s Span
	if b, ok := s.Bytes(); s.Len() != 0 || s.Kind() != Normal || len(b) != 0 || !ok {
		t.Errorf("the zero span has %d bytes of %s memory, Bytes %d %v", s.Len(), s.Kind(), len(b), ok)
	}
	s.ReadAt(nil, 0)
	s.WriteAt(nil, 0)
	s.Zero(0, 0)
}

func TestSpan_NoAllocation(t *testing.T) {
	s := mustSpan(t, NewHeap(4096), nil)
	device, _ := NewStrict(4096, 8)
	d := mustSpan(t, device, nil)
	var fence Fence
	buf := make([]byte, 100)
	allocs := testing.AllocsPerRun(100, func() {
		for _, w := range words {
			w.do(s, 8)
		}
		for _, s := range []Span{s, d} {
			s.Slice(3, 200).ReadAt(buf, 50)
			s.Slice(3, 200).WriteAt(buf, 50)
			s.Zero(3, 100)
			b, _ := s.Bytes()
			sink += uint64(len(b))
		}
		fence.StoreLoad()
		guarded(func() {})
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
