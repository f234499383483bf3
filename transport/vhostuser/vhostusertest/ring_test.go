package vhostusertest

import (
	"testing"

	"gotest.tools/v3/assert"
)

func newRing(t *testing.T, size uint16, eventIdx bool) *Ring {
	t.Helper()
	m, err := NewMemory(Region{Guest: 0x1000, User: 0x1000, Size: 1 << 16})
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, m.Close()) })
	return NewRing(m, size, eventIdx, false)
}

// What a device must not do to a ring is an error of Used.
func TestUsedNoticesWhatWasNotInFlight(t *testing.T) {
	for name, wrong := range map[string]func(r *Ring, a, b uint16){
		"twice":         func(r *Ring, a, _ uint16) { r.GiveBack(2, a, a) },
		"never offered": func(r *Ring, a, b uint16) { r.GiveBack(1, a^b^3) },
		"no head": func(r *Ring, a, _ uint16) {
			r.used.Store32(4, 1<<16|uint32(a))
			r.GiveBack(1)
		},
		"beyond": func(r *Ring, a, b uint16) { r.GiveBack(3, a, b, a) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRing(t, 4, false)
			a, err := r.Offer(Readable(0x1000, 1))
			assert.NilError(t, err)
			b, err := r.Offer(Readable(0x1000, 1))
			assert.NilError(t, err)
			wrong(r, a, b)
			for ok := true; ok && err == nil; {
				_, ok, err = r.Used()
			}
			assert.Assert(t, err != nil)
		})
	}
}

func TestFullRing(t *testing.T) {
	r := newRing(t, 4, false)
	for range 2 {
		_, err := r.Offer(Readable(0x1000, 1), Writable(0x1000, 1))
		assert.NilError(t, err)
	}
	_, err := r.Offer(Readable(0x1000, 1))
	assert.ErrorIs(t, err, ErrFull)
	r.GiveBack(1, 2)
	e, ok, err := r.Used()
	assert.NilError(t, err)
	assert.Assert(t, ok && e.Head == 2)
	_, err = r.Offer(Readable(0x1000, 1), Readable(0x1000, 1))
	assert.NilError(t, err)
}

// The record of what is in flight is read as it was written, wherever it lies.
func TestInflightRecord(t *testing.T) {
	i, err := NewInflight(2, 4)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, i.Close()) })
	want := Record{Version: 1, Size: 4, LastBatch: 3, Used: 0xfffe, Entries: []Entry{{}, {Flying: true, Next: 2, Counter: 1 << 40}, {Counter: 7}, {Next: 1}}}
	assert.NilError(t, i.Write(1, want))
	got, err := i.Read(1)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, want)
	got, err = i.Read(0)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, Record{Entries: make([]Entry, 4)})
}
