package virtio_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring"
	"gotest.tools/v3/assert"
)

// laps is a driver that sends the same chains round and round.
type laps struct {
	r *virtiotest.Rig
	q *virtiotest.Queue
	n uint16 // chains in flight at a time
}

// newLaps serves queue 0 with fn; each chain is 64 readable and 64 writable bytes.
func newLaps(t testing.TB, n uint16, o virtiotest.Options, serve func(ctx context.Context, q *virtio.Queue) error) *laps {
	b := &toy{info: virtio.Info{Queues: []uint16{256}}, serve: func(ctx context.Context, s *virtio.Session) error {
		return serve(ctx, s.Queue(0))
	}}
	o.QueueSize = 256
	r := up(t, b, o)
	q := r.Queue(0)
	for i := range n {
		d, _ := pingPong(r.Memory)
		q.Chain(2*i, d...)
	}
	for i := range q.Size {
		q.SetAvail(i, i%n*2)
	}
	return &laps{r, q, n}
}

// lap sends all chains and waits for them, awake.
func (l *laps) lap() {
	idx := l.q.AvailIdx() + l.n
	l.q.SetAvailIdx(idx)
	l.r.Device.Kick()
	for l.q.UsedIdx() != idx {
		runtime.Gosched()
	}
}

// fixed is an echo that does not allocate.
func fixed() func(*vring.Chain) error {
	p := make([]byte, 4)
	return func(c *vring.Chain) error {
		if _, err := c.Read(p); err != nil {
			return err
		}
		_, err := c.Write(p)
		return err
	}
}

func byHandle(ctx context.Context, q *virtio.Queue) error { return q.Handle(ctx, fixed()) }

func byHand(ctx context.Context, q *virtio.Queue) error {
	var c vring.Chain
	for serve := fixed(); ; {
		if err := q.Next(ctx, &c); err != nil {
			return err
		}
		if err := serve(&c); err != nil {
			return err
		}
		q.Done(&c)
		if err := q.Flush(); err != nil {
			return err
		}
	}
}

func TestNoAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	for name, serve := range map[string]func(context.Context, *virtio.Queue) error{
		"Handle": byHandle, "Next, Done, Flush": byHand, "HandleParallel": byParallel,
	} {
		t.Run(name, func(t *testing.T) {
			for _, depth := range []uint16{1, 40} {
				l := newLaps(t, depth, virtiotest.Options{}, serve)
				l.lap()
				assert.Equal(t, testing.AllocsPerRun(500, l.lap), 0.0, "depth %d", depth)
				assert.NilError(t, l.r.Device.Broken())
			}
		})
	}
}

// A request there and back between two goroutines of one process: what all else is added to.
func BenchmarkQueueHandle(b *testing.B) { benchmarkLaps(b, byHandle) }

// The same where each request may block.
func BenchmarkQueueHandleParallel(b *testing.B) { benchmarkLaps(b, byParallel) }

func benchmarkLaps(b *testing.B, serve func(context.Context, *virtio.Queue) error) {
	for _, bb := range []struct {
		name  string
		depth uint16
	}{{"sync", 1}, {"depth=16", 16}, {"depth=64", 64}} {
		b.Run(bb.name, func(b *testing.B) {
			l := newLaps(b, bb.depth, virtiotest.Options{}, serve)
			l.lap()
			b.ReportAllocs()
			for i := 0; i < b.N; i += int(bb.depth) {
				l.lap()
			}
			assert.NilError(b, l.r.Device.Broken())
		})
	}
}
