package driver_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/transport/mmio"
)

// Requests allocate nothing on either side: with a goroutine at the doorbell or without,
// asleep or spinning, waited for or called back.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, layout := range []mmio.Layout{mmio.Table, mmio.Modern} {
		for _, spin := range []time.Duration{0, time.Second} {
			for _, runs := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/spin=%v/run=%v", layout, spin, runs), func(t *testing.T) {
					allocs(t, linked(t, &echo{queues: 1, layout: layout}, driver.Options{Spin: spin}, 16), runs)
				})
			}
		}
	}
}

func allocs(t *testing.T, d *driver.Device, runs bool) {
	ctx, q := context.Background(), d.Queue(0)
	if runs {
		run(t, d.Window())
		ctx = bounded(t)
		served := make(chan struct{})
		_, err := q.Submit(&driver.Request{In: make([]byte, 1), Done: func(*driver.Request) { close(served) }})
		assert.NilError(t, err)
		recv(t, served) // nobody but Run serves the doorbell of this one
	}
	out, in := make([]byte, 100), make([]byte, 100)
	none(t, "Do", func() {
		if n, err := q.Do(ctx, out, in); n != 100 || err != nil {
			t.Fatal(n, err)
		}
	})
	requests := make([]*driver.Request, 8)
	for i := range requests {
		requests[i] = &driver.Request{Out: make([]byte, 100), In: make([]byte, 100)}
	}
	none(t, "Submit and Wait", func() {
		if n, err := q.Submit(requests...); n != 8 || err != nil {
			t.Fatal(n, err)
		}
		for _, r := range requests {
			if err := r.Wait(ctx); err != nil {
				t.Fatal(err)
			}
		}
	})
	if runs {
		p := newPipeline(q, 8, 100, 100)
		none(t, "callbacks", func() { p.run(50) })
	}
}

func none(t *testing.T, what string, fn func()) {
	t.Helper()
	fn() // the first may
	if n := testing.AllocsPerRun(100, fn); n != 0 {
		t.Errorf("%s: %v allocations", what, n)
	}
}

// The driver side of a ring alone, in one goroutine, with the least that a device can do.
func BenchmarkRing(b *testing.B) {
	for _, batch := range []int{1, 32} {
		for _, eventIdx := range []bool{false, true} {
			b.Run(fmt.Sprintf("batch%d/eventidx=%v", batch, eventIdx), func(b *testing.B) {
				r, dev := newRing(b, 256, eventIdx)
				chain := []driver.Segment{{Addr: 0x1000, Len: 64}}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := r.Add(chain); err != nil {
						b.Fatal(err)
					}
					if i%batch != batch-1 {
						continue
					}
					r.Publish()
					for range batch {
						dev.use(uint32(dev.head(dev.idx)), 0)
					}
					dev.show(0)
					for range batch {
						if _, _, ok, err := r.Get(); !ok {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// The device's part of BenchmarkRing, to be taken off its figures.
func BenchmarkRingDevice(b *testing.B) {
	_, dev := newRing(b, 256, false)
	for b.Loop() {
		dev.use(uint32(dev.head(dev.idx)), 0)
	}
	assert.Assert(b, dev.mem.Len() > 0)
}
