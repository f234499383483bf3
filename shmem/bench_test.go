package shmem

import "testing"

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
	b.Run("Store16Plain+StoreLoad+Load16", func(b *testing.B) {
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
