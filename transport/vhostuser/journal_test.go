package vhostuser

import (
	"math/rand/v2"
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
)

// noted is a journal on memory of its own.
func noted(t testing.TB, size uint16) *journal {
	t.Helper()
	span, err := shmem.NewHeap(int(stride(size))).Span(0, stride(size))
	assert.NilError(t, err)
	return newJournal(span, size, true)
}

// A successor finds what was in flight, in the order it was taken, wherever its predecessor died:
// also between the store of the used index and the notes on it.
func TestJournalResumes(t *testing.T) {
	const size = 16
	r := rand.New(rand.NewPCG(1, 2))
	for start := range uint16(40) {
		used := start * 1000 // wraps
		j := noted(t, size)
		_, err := j.resume(used)
		assert.NilError(t, err)
		var flying []uint16
		free := r.Perm(size)
		for range 400 {
			if len(free) > 0 && r.IntN(2) == 0 {
				head := uint16(free[0])
				free = free[1:]
				j.Take(head, 0)
				flying = append(flying, head)
			}
			n := r.IntN(len(flying) + 1)
			var batch []uint16
			for range n {
				i := r.IntN(len(flying))
				head := flying[i]
				flying = slices.Delete(flying, i, i+1)
				j.Return(head, used+uint16(len(batch)))
				batch = append(batch, head)
			}
			switch r.IntN(6) {
			case 0: // died before the used index was stored: the batch is in flight
				was := takenOver(t, j, used, size)
				assert.Equal(t, len(was), len(flying)+n)
				for _, h := range batch {
					assert.Assert(t, slices.Contains(was, h))
				}
				assert.Assert(t, slices.IsSortedFunc(flying, func(a, b uint16) int { return slices.Index(was, a) - slices.Index(was, b) }))
			case 1: // died behind it
				assert.DeepEqual(t, same(takenOver(t, j, used+uint16(n), size)), same(flying))
			}
			used += uint16(n)
			j.Publish(used)
			assert.DeepEqual(t, same(takenOver(t, j, used, size)), same(flying))
			for _, h := range batch {
				free = append(free, int(h))
			}
		}
	}
}

func same(p []uint16) []uint16 { return append([]uint16{}, p...) }

// takenOver is what a successor would read from a copy of the record.
func takenOver(t testing.TB, j *journal, used, size uint16) []uint16 {
	t.Helper()
	next := noted(t, size)
	p := make([]byte, j.record.Len())
	j.record.ReadAt(p, 0)
	next.record.WriteAt(p, 0)
	redo, err := next.resume(used)
	assert.NilError(t, err)
	again, err := next.resume(used) // it may die at once
	assert.NilError(t, err)
	assert.DeepEqual(t, same(again), same(redo))
	return redo
}

// A record that was scribbled on is refused, or taken for what it says; nothing in it leads out of
// it.
func TestJournalScribbledOn(t *testing.T) {
	const size = 8
	r := rand.New(rand.NewPCG(3, 4))
	refused := 0
	for range 20_000 {
		j := noted(t, size)
		j.renew(0)
		for range 1 + r.IntN(8) {
			j.record.WriteAt([]byte{byte(r.Uint32())}, r.Uint64N(j.record.Len()))
		}
		redo, err := j.resume(uint16(r.Uint32N(12)))
		if err != nil {
			refused++
			continue
		}
		assert.Assert(t, len(redo) <= size)
		for i, h := range redo {
			assert.Assert(t, h < size)
			assert.Assert(t, !slices.Contains(redo[:i], h))
		}
	}
	assert.Assert(t, refused > 0)
	for name, scribble := range map[string]func(j *journal){
		"version": func(j *journal) { j.record.Store16Plain(recordVersion, 2) },
		"size":    func(j *journal) { j.record.Store16Plain(recordSize, size*2) },
		"used":    func(j *journal) { j.record.Store16Plain(recordUsed, 100) },
		"last": func(j *journal) {
			j.record.Store16Plain(recordUsed, 0xffff)
			j.record.Store16Plain(recordLast, size)
		},
		"next": func(j *journal) {
			j.record.Store16Plain(recordUsed, 0xfffe)
			j.record.Store16Plain(entry(0)+6, 0xffff)
		},
	} {
		j := noted(t, size)
		j.renew(0)
		scribble(j)
		_, err := j.resume(0)
		assert.Assert(t, err != nil, name)
	}
}

// Notes allocate nothing.
func TestJournalAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	j := noted(t, 256)
	j.renew(0)
	used := uint16(0)
	assert.Equal(t, testing.AllocsPerRun(100, func() {
		for h := range uint16(256) {
			j.Take(h, 0)
		}
		for h := range uint16(256) {
			j.Return(h, 0)
		}
		used += 256
		j.Publish(used)
	}), 0.0)
}
