package driver_test

import (
	"context"
	"fmt"
	"io"
	"math"
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

// benchModes calls fn for a device in each mode.
func benchModes(b *testing.B, backend func(testing.TB) virtio.Backend, fn func(*testing.B, *driver.Device)) {
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
			fn(b, d)
		})
	}
}

func started(b *testing.B, d *driver.Device, queues int) *driver.Device {
	assert.NilError(b, d.Start(bounded(b), driver.Config{Sizes: make([]uint16, queues)}))
	return d
}

// benchSync does one request after the other.
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
			benchModes(b, entropy, func(b *testing.B, d *driver.Device) {
				q := started(b, d, 1).Queue(0)
				b.Run("sync", func(b *testing.B) { benchSync(b, q, 0, n) })
				b.Run("depth16", func(b *testing.B) { benchDepth(b, q, 16, 0, n) })
			})
		})
	}
}

// sink is a host that takes everything and says as many bytes as it is told to.
type sink struct {
	mu     sync.Mutex
	more   *sync.Cond
	left   int
	closed bool
}

func newSink() *sink {
	s := &sink{}
	s.more = sync.NewCond(&s.mu)
	return s
}

// say has n more bytes said.
func (s *sink) say(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left += n
	s.more.Signal()
}

func (s *sink) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.left == 0 && !s.closed {
		s.more.Wait()
	}
	if s.closed {
		return 0, io.EOF
	}
	n := min(len(p), s.left)
	s.left -= n
	return n, nil
}

func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.more.Signal()
	return nil
}

func (s *sink) Write(p []byte) (int, error)      { return len(p), nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

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
			benchModes(b, backend, func(b *testing.B, d *driver.Device) {
				q := started(b, d, 2).Queue(1)
				b.Run("sync", func(b *testing.B) { benchSync(b, q, n, 0) })
				b.Run("depth16", func(b *testing.B) { benchDepth(b, q, 16, n, 0) })
			})
		})
	}
}

// What the host says arrives with the driver: the next bytes after these were read, or all the
// time, into as many buffers as the driver offers.
func BenchmarkConsoleIn(b *testing.B) {
	for _, tt := range []struct {
		name   string
		n      int
		stream bool
	}{{"1B/sync", 1, false}, {"4096B/sync", 4096, false}, {"4096B/stream", 4096, true}} {
		b.Run(tt.name, func(b *testing.B) {
			var host *sink
			backend := func(tb testing.TB) virtio.Backend {
				host = newSink()
				return terminal(tb, host)
			}
			benchModes(b, backend, func(b *testing.B, d *driver.Device) {
				c, err := driver.StartConsole(bounded(b), d)
				assert.NilError(b, err)
				run(b, d.Window())
				if tt.stream {
					host.say(math.MaxInt)
				}
				p := make([]byte, tt.n)
				b.SetBytes(int64(tt.n))
				b.ReportAllocs()
				for b.Loop() {
					if !tt.stream {
						host.say(tt.n)
					}
					if _, err := io.ReadFull(c, p); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
