package shmem

import (
	"bytes"
	"fmt"
	"testing"
)

// plan is the aligned accesses, by width as in Strict, that move n bytes at off with as few of
// them as the rules allow.
func plan(off, n, width uint64) (counts [4]uint64) {
	for n > 0 {
		i := 3
		for w := uint64(8); w > width || w > n || off%w != 0; w /= 2 {
			i--
		}
		counts[i]++
		off, n = off+1<<i, n-1<<i
	}
	return counts
}

// The strict Region panics where the board would fault; the bytes have to be right as well, and
// the ones around them untouched.
func TestStrict_Copies(t *testing.T) {
	const size = 96
	background := bytes.Repeat([]byte{0xee}, size)
	data := make([]byte, size+8)
	for i := range data {
		data[i] = byte(i + 1)
	}
	for _, width := range []int{4, 8} {
		r, strict := NewStrict(size, width)
		s := mustSpan(t, r, nil)
		memory := r.As(Normal) // the same bytes by an ordinary copy
		raw, _ := mustSpan(t, memory, nil).Bytes()

		for off := uint64(0); off <= 40; off++ {
			for n := uint64(0); n <= 40; n++ {
				// The private side has any alignment, and a span any start.
				private := data[off%8:][:n]
				piece, at := s.Slice(off/2, 60), off-off/2

				want := append([]byte(nil), background...)
				copy(want[off:], private)
				copy(raw, background)
				strict.Width = [4]uint64{}
				piece.WriteAt(private, at)
				check(t, fmt.Sprintf("WriteAt of %d at %d, width %d", n, off, width), raw, want, strict, plan(off, n, uint64(width)))

				got := append(make([]byte, off%8), background...)
				strict.Width = [4]uint64{}
				piece.ReadAt(got[off%8:][:n], at)
				want = append(make([]byte, off%8), background...)
				copy(want[off%8:], private)
				check(t, fmt.Sprintf("ReadAt of %d at %d, width %d", n, off, width), got, want, strict, plan(off, n, uint64(width)))

				want = append([]byte(nil), background...)
				clear(want[off:][:n])
				copy(raw, background)
				strict.Width = [4]uint64{}
				piece.Zero(at, n)
				check(t, fmt.Sprintf("Zero of %d at %d, width %d", n, off, width), raw, want, strict, plan(off, n, uint64(width)))
			}
		}
	}
}

func check(t *testing.T, what string, got, want []byte, strict *Strict, plan [4]uint64) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n got %x\nwant %x", what, got, want)
	}
	if strict.Width != plan {
		t.Errorf("%s: made %v accesses of 1, 2, 4, 8 bytes, want %v", what, strict.Width, plan)
	}
}

func TestStrict_Refuses(t *testing.T) {
	for _, width := range []uint64{4, 8} {
		r, _ := NewStrict(64, int(width))
		s := mustSpan(t, r, nil)
		for off := uint64(0); off < 72; off++ {
			for w := uint64(1); w <= 8; w *= 2 {
				good := w <= width && off%w == 0 && off+w <= 64
				if e := refused(t, func() { r.word(s.p, off, w) }); (e == nil) != good {
					t.Errorf("block access of %d at %d on a bus of %d: %v", w, off, width, e)
				}
			}
		}
		// The words of eight bytes have to make do with a narrow bus: see Load64Plain.
		for _, w := range words {
			for off := uint64(0); off < 72; off++ {
				good := off%w.width == 0 && off+w.width <= 64 && w.name != "CompareAndSwap32"
				if e := refused(t, func() { w.do(s, off) }); (e == nil) != good {
					t.Errorf("%s at %d on a bus of %d: %v", w.name, off, width, e)
				}
			}
		}
		if b, ok := s.Bytes(); ok || b != nil {
			t.Error("Bytes of strict memory are for anybody to copy")
		}
	}
	for _, width := range []int{0, 1, 2, 3, 16} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a bus of %d bytes", width)
				}
			}()
			NewStrict(64, width)
		}()
	}
}
