package vring_test

import (
	"testing"
	"time"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// BenchmarkQueue is what one chain costs the device, taken, given back and published, with the
// driver standing still and every line in the cache. x-spsc is the ratio to a plain ring (see
// spsc) that carries the same buffers, and the same bytes if any, in the same run.
func BenchmarkQueue(b *testing.B) {
	const size = 256
	direct := func(m *vringtest.Memory, r *vringtest.Ring, i uint16) {
		r.Put(i, vringtest.Writable(m.Alloc(64, 64), 64))
	}
	three := func(m *vringtest.Memory, r *vringtest.Ring, i uint16) {
		if i%4 == 0 {
			r.Chain(i, vringtest.Readable(m.Alloc(16, 16), 16), vringtest.Writable(m.Alloc(64, 64), 64), vringtest.Writable(m.Alloc(1, 1), 1))
		}
	}
	indirect := func(m *vringtest.Memory, r *vringtest.Ring, i uint16) {
		r.Put(i, m.Table(vringtest.Writable(m.Alloc(64, 64), 64)))
	}
	for _, bb := range []struct {
		name   string
		batch  int
		bytes  int // written into each chain
		gate   bool
		plain  bool // memory that could vanish: the fault guard is on
		config vring.Config
		fill   func(m *vringtest.Memory, r *vringtest.Ring, i uint16)
		stride uint16 // descriptors from one head to the next
	}{
		{name: "batch=1", batch: 1, fill: direct},
		{name: "batch=32", batch: 32, fill: direct},
		{name: "eventidx/batch=1", batch: 1, fill: direct, config: vring.Config{EventIdx: true}},
		{name: "eventidx/batch=32", batch: 32, fill: direct, config: vring.Config{EventIdx: true}},
		{name: "indirect/batch=32", batch: 32, fill: indirect, config: vring.Config{Indirect: true}},
		{name: "three/batch=32", batch: 32, fill: three, stride: 4},
		{name: "write=64/batch=1", batch: 1, fill: direct, bytes: 64},
		{name: "write=64/batch=32", batch: 32, fill: direct, bytes: 64},
		{name: "gate/batch=1", batch: 1, fill: direct, gate: true},
		{name: "gate/batch=32", batch: 32, fill: direct, gate: true},
		{name: "gate+guard/batch=1", batch: 1, fill: direct, gate: true, plain: true},
		{name: "gate+guard/batch=32", batch: 32, fill: direct, gate: true, plain: true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			region := benchRegion(b, bb.plain)
			m := vringtest.NewMemory(region, 0x4000_0000)
			r := m.NewRing(m.Legacy(size, 4096))
			for i := range uint16(size) {
				bb.fill(m, r, i)
				r.SetAvail(i, i*max(bb.stride, 1)%size)
			}
			c := bb.config
			if bb.gate {
				standing := m.Span(m.Alloc(4, 4), 4)
				c.Gate = vring.NewGate(func() bool { return standing.Load32(0) == 0 }, func() {})
			}
			q := newQueue(b, m, r, c)

			var chain vring.Chain
			payload := make([]byte, bb.bytes)
			b.ReportAllocs()
			b.ResetTimer()
			begin := time.Now()
			for i := 0; i < b.N; i += bb.batch {
				if i%size == 0 {
					r.SetAvailIdx(uint16(i) + size)
				}
				for range bb.batch {
					if ok, err := q.Pop(&chain); !ok || err != nil {
						b.Fatal(ok, err)
					}
					if len(payload) > 0 {
						if _, err := chain.Write(payload); err != nil {
							b.Fatal(err)
						}
					}
					q.Push(&chain)
				}
				if _, err := q.Publish(); err != nil {
					b.Fatal(err)
				}
			}
			ours := time.Since(begin)
			b.StopTimer()

			s := newSPSC(size)
			begin = time.Now()
			for i := 0; i < b.N; i += bb.batch {
				if i%size == 0 {
					s.refill()
				}
				s.serve(bb.batch, payload)
			}
			b.ReportMetric(float64(ours)/float64(time.Since(begin)), "x-spsc")
		})
	}
}

// benchRegion is a memfd that cannot vanish, or a file that can.
func benchRegion(b *testing.B, plain bool) *shmem.Region {
	b.Helper()
	const size = 1 << 20
	region, err := shmem.NewMemfd("bench", size)
	if plain {
		region, err = shmem.OpenFile(b.TempDir()+"/ring", size)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { region.Close() })
	return region
}
