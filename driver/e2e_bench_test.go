package driver_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/console"
	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// End to end in one process: driver, doorbells, transport, device. "asleep" has both sides sleep
// whenever they have nothing to do, "spinning" has both watch the ring.

// spinTime is longer than an answer takes.
const spinTime = 200 * time.Microsecond

// benchModes calls fn for a started device in each mode.
func benchModes(b *testing.B, backend func(testing.TB) virtio.Backend, queues int, fn func(*testing.B, *driver.Device)) {
	for _, mode := range []struct {
		name string
		spin time.Duration
	}{{"asleep", 0}, {"spinning", spinTime}} {
		b.Run(mode.name, func(b *testing.B) {
			region, err := shmem.NewMemfd("bench", winSize)
			assert.NilError(b, err)
			b.Cleanup(func() { assert.NilError(b, region.Close()) })
			host, guest := notify.NewPair()
			backend := backend(b)
			serve(b, mmio.Options{Region: region, Line: host, Spin: mode.spin}, device{"bench", backend, 0})
			w := open(b, driver.Options{Region: region, Line: guest, Spin: mode.spin})
			d, err := w.Find(bounded(b), backend.Info().ID, 0)
			assert.NilError(b, err)
			assert.NilError(b, d.Start(bounded(b), driver.Config{Sizes: make([]uint16, queues)}))
			fn(b, d)
		})
	}
}

// sync does one request after the other.
func benchSync(b *testing.B, q *driver.Queue, out, in int) {
	o, i := make([]byte, out), make([]byte, in)
	ctx := context.Background()
	b.SetBytes(int64(out + in))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := q.Do(ctx, o, i); err != nil || n != in {
			b.Fatal(n, err)
		}
	}
}

// pipeline keeps a number of requests in flight.
type pipeline struct {
	q        *driver.Queue
	requests []*driver.Request
	left     atomic.Int64
	flying   atomic.Int64
	over     chan struct{}
	failed   atomic.Pointer[error]
}

func newPipeline(q *driver.Queue, depth, out, in int) *pipeline {
	p := &pipeline{q: q, over: make(chan struct{}, 1)}
	for range depth {
		p.requests = append(p.requests, &driver.Request{Out: make([]byte, out), In: make([]byte, in), Done: p.done})
	}
	return p
}

func (p *pipeline) done(r *driver.Request) {
	if r.Err != nil {
		p.failed.Store(&r.Err)
	} else if p.left.Add(-1) >= 0 {
		if _, err := p.q.Submit(r); err == nil {
			return
		}
	}
	if p.flying.Add(-1) == 0 {
		p.over <- struct{}{}
	}
}

// run does n requests.
func (p *pipeline) run(n int) {
	first := p.requests[:min(n, len(p.requests))]
	p.left.Store(int64(n - len(first)))
	p.flying.Store(int64(len(first)))
	if _, err := p.q.Submit(first...); err != nil {
		panic(err)
	}
	<-p.over
}

func benchDepth(b *testing.B, q *driver.Queue, depth, out, in int) {
	run(b, q.Device().Window())
	p := newPipeline(q, depth, out, in)
	b.SetBytes(int64(out + in))
	b.ReportAllocs()
	b.ResetTimer()
	p.run(b.N)
	if err := p.failed.Load(); err != nil {
		b.Fatal(*err)
	}
}

func BenchmarkRNG(b *testing.B) {
	for _, n := range []int{9, 4096} {
		b.Run(fmt.Sprintf("%dB", n), func(b *testing.B) {
			entropy := func(testing.TB) virtio.Backend { return rng.New(rng.Options{}) }
			benchModes(b, entropy, 1, func(b *testing.B, d *driver.Device) {
				b.Run("sync", func(b *testing.B) { benchSync(b, d.Queue(0), 0, n) })
				b.Run("depth16", func(b *testing.B) { benchDepth(b, d.Queue(0), 16, 0, n) })
			})
		})
	}
}

// sink is a host that takes everything and says as much as is asked of it.
type sink struct {
	in   chan int
	once sync.Once
	left int
}

func newSink() *sink { return &sink{in: make(chan int)} }

func (s *sink) Read(p []byte) (int, error) {
	for s.left == 0 {
		n, ok := <-s.in
		if !ok {
			return 0, io.EOF
		}
		s.left = n
	}
	n := min(len(p), s.left)
	s.left -= n
	return n, nil
}

func (s *sink) Write(p []byte) (int, error)      { return len(p), nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) Close() error                     { s.once.Do(func() { close(s.in) }); return nil }

func terminal(tb testing.TB, host console.Endpoint) virtio.Backend {
	d, err := console.New(console.Options{Ports: []console.Port{{Endpoint: host}}})
	assert.NilError(tb, err)
	tb.Cleanup(func() { assert.NilError(tb, d.Close()) })
	return d
}

func BenchmarkConsoleOut(b *testing.B) {
	for _, n := range []int{1, 4096} {
		b.Run(fmt.Sprintf("%dB", n), func(b *testing.B) {
			backend := func(tb testing.TB) virtio.Backend { return terminal(tb, newSink()) }
			benchModes(b, backend, 2, func(b *testing.B, d *driver.Device) {
				b.Run("sync", func(b *testing.B) { benchSync(b, d.Queue(1), n, 0) })
				b.Run("depth16", func(b *testing.B) { benchDepth(b, d.Queue(1), 16, n, 0) })
			})
		})
	}
}
