package driver

import (
	"math/rand/v2"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
)

func newTestPool(t testing.TB, start, end uint64) *pool {
	t.Helper()
	space, err := shmem.NewSpace(shmem.Window{Addr: 0x10000, Region: shmem.NewHeap(1 << 20)})
	assert.NilError(t, err)
	p, err := newPool(space, start, end)
	assert.NilError(t, err)
	return p
}

// The lowest run that is long enough, in lines of 64 bytes.
func TestPool_FirstFit(t *testing.T) {
	p := newTestPool(t, 0x10001, 0x10001+10*64)
	take := func(n, align uint64, want uint64) Buffer {
		t.Helper()
		b, err := p.alloc(n, align)
		assert.NilError(t, err)
		assert.Equal(t, b.Addr, want)
		assert.Equal(t, b.Len(), int(n))
		return b
	}
	a := take(1, 1, 0x10040)
	b := take(65, 1, 0x10080)
	take(64, 1, 0x10100)
	d := take(1, 256, 0x10200)
	a.Free()
	b.Free() // one run of three with its neighbour
	take(129, 1, 0x10040)
	d.Free()
	take(3*64, 1, 0x10140)
	take(2*64, 1, 0x10200)
	_, err := p.alloc(1, 1)
	assert.Equal(t, err, ErrNoMemory, "nine lines, and the cut ones at both ends are not ours")
	_, err = p.alloc(1<<40, 1)
	assert.Equal(t, err, ErrNoMemory)
	_, err = p.alloc(0, 1)
	assert.Equal(t, err, ErrNoMemory)
}

func TestPool_Refuses(t *testing.T) {
	space, err := shmem.NewSpace(shmem.Window{Addr: 0x10000, Region: shmem.NewHeap(1 << 20)})
	assert.NilError(t, err)
	for _, tt := range [][2]uint64{{0x10000, 0x1003f}, {0x10001, 0x1007f}, {0x10040, 0x10000}, {0, 0x10000}, {0x10000, 0x200000}, {^uint64(0), 0}} {
		_, err := newPool(space, tt[0], tt[1])
		assert.Assert(t, err != nil, "%#x", tt)
	}
}

func TestPool_FreeTwice(t *testing.T) {
	p := newTestPool(t, 0x10000, 0x20000)
	b, err := p.alloc(100, 1)
	assert.NilError(t, err)
	b.Free()
	defer func() { assert.Equal(t, recover(), "driver: buffer of 100 bytes at 0x10000 is not allocated") }()
	b.Free()
}

// Against a map of bytes: no two buffers meet, all are aligned, nothing is refused that fits,
// and in the end everything is free again.
func TestPool_Random(t *testing.T) {
	const units = 1000
	random := rand.New(rand.NewPCG(3, 4))
	p := newTestPool(t, 0x10040, 0x10040+units*unit)
	var used [units]bool
	var live []Buffer
	mark := func(b Buffer, v bool) {
		at := (b.Addr - 0x10040) / unit
		for i := range uint64(b.Len()+unit-1) / unit {
			assert.Assert(t, used[at+i] != v)
			used[at+i] = v
		}
	}
	lowest := func(n, align uint64) (uint64, bool) {
		for at := uint64(0); at+n <= units; at++ {
			free := (0x10040+at*unit)%align == 0
			for i := uint64(0); free && i < n; i++ {
				free = !used[at+i]
			}
			if free {
				return 0x10040 + at*unit, true
			}
		}
		return 0, false
	}
	for range 20000 {
		if random.IntN(2) == 0 && len(live) > 0 {
			i := random.IntN(len(live))
			mark(live[i], false)
			live[i].Free()
			live = append(live[:i], live[i+1:]...)
			continue
		}
		n, align := uint64(1+random.IntN(5000)), uint64(1)<<random.IntN(13)
		want, fits := lowest((n+unit-1)/unit, max(align, unit))
		b, err := p.alloc(n, align)
		assert.Equal(t, err == nil, fits)
		if fits {
			assert.Equal(t, b.Addr, want)
			mark(b, true)
			live = append(live, b)
		}
	}
	for _, b := range live {
		b.Free()
	}
	b, err := p.alloc(units*unit, 1)
	assert.NilError(t, err)
	assert.Equal(t, b.Addr, uint64(0x10040))
}

func BenchmarkPool(b *testing.B) {
	p := newTestPool(b, 0x10000, 0x110000)
	for range 64 { // in flight
		if _, err := p.alloc(2048, unit); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		m, err := p.alloc(1500, unit)
		if err != nil {
			b.Fatal(err)
		}
		m.Free()
	}
}
