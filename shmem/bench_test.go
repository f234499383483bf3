package shmem

import (
	"fmt"
	"testing"
)

// sink keeps results alive that the compiler would otherwise drop.
var sink uint64

func BenchmarkWord(b *testing.B) {
	s := mustMemfd(b, 4096)
	b.Run("Load32", func(b *testing.B) {
		var sum uint32
		for i := 0; b.Loop(); i += 4 {
			sum += s.Load32(uint64(i) & 4092)
		}
		sink += uint64(sum)
	})
	b.Run("Load16", func(b *testing.B) {
		var sum uint16
		for i := 0; b.Loop(); i += 2 {
			sum += s.Load16(uint64(i) & 4094)
		}
		sink += uint64(sum)
	})
	b.Run("Load64Plain", func(b *testing.B) {
		var sum uint64
		for i := 0; b.Loop(); i += 8 {
			sum += s.Load64Plain(uint64(i) & 4088)
		}
		sink += sum
	})
	b.Run("Store32", func(b *testing.B) {
		for i := 0; b.Loop(); i += 4 {
			s.Store32(uint64(i)&4092, uint32(i))
		}
	})
	b.Run("Store32Plain", func(b *testing.B) {
		for i := 0; b.Loop(); i += 4 {
			s.Store32Plain(uint64(i)&4092, uint32(i))
		}
	})
	// What a device does before it sleeps.
	b.Run("Store16Plain,StoreLoad,Load16", func(b *testing.B) {
		var fence Fence
		var sum uint16
		for i := 0; b.Loop(); i += 2 {
			s.Store16Plain(uint64(i)&4094, uint16(i))
			fence.StoreLoad()
			sum += s.Load16(128)
		}
		sink += uint64(sum)
	})
}

// The difference of the two is what a guard costs.
func BenchmarkGuard(b *testing.B) {
	s := mustMemfd(b, 4096)
	b.Run("none", func(b *testing.B) {
		load := func() (v uint32, err error) {
			return s.Load32(8), nil
		}
		benchmarkLoad(b, load)
	})
	b.Run("guard", func(b *testing.B) {
		load := func() (v uint32, err error) {
			defer Recover(&err, Guard())
			return s.Load32(8), nil
		}
		benchmarkLoad(b, load)
	})
}

func benchmarkLoad(b *testing.B, load func() (uint32, error)) {
	b.ReportAllocs()
	for b.Loop() {
		v, err := load()
		if err != nil {
			b.Fatal(err)
		}
		sink += uint64(v)
	}
}

func BenchmarkCopy(b *testing.B) {
	s := mustMemfd(b, 8192)
	private := make([]byte, 8192)
	for _, n := range []int{64, 1500, 4096} {
		p := private[:n]
		bench := func(name string, do func()) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					do()
				}
			})
		}
		memory, _ := s.Bytes()
		bench("copy", func() { copy(p, memory) })
		for _, kind := range []Kind{Normal, Device} {
			s := mustSpan(b, s.r.As(kind), nil)
			// As a frame behind a header: aligned to four bytes, which costs Device memory a head.
			bench(kind.String()+"/ReadAt", func() { s.ReadAt(p, 12) })
			bench(kind.String()+"/WriteAt", func() { s.WriteAt(p, 12) })
			bench(kind.String()+"/Zero", func() { s.Zero(12, uint64(n)) })
		}
	}
}
