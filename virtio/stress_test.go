package virtio_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
	"gotest.tools/v3/assert"
)

// eager serves its queues in every way there is: one queue by Handle, one by
// hand with completions out of order, one through contexts of its own that end all the time.
type eager struct {
	toy
	inside   atomic.Int32
	overlaps atomic.Int32
}

func newEager() *eager {
	b := &eager{}
	b.info.Queues = []uint16{0, 0, 0}
	b.serve = func(ctx context.Context, s *virtio.Session) error {
		if b.inside.Add(1) > 1 {
			b.overlaps.Add(1)
		}
		defer b.inside.Add(-1)
		errs := make(chan error, 3)
		go func() { errs <- s.Queue(0).Handle(ctx, echo) }()
		go func() { errs <- outOfOrder(ctx, s.Queue(1)) }()
		go func() { errs <- restless(ctx, s.Queue(2)) }()
		err := <-errs
		<-errs
		<-errs
		return err
	}
	return b
}

func outOfOrder(ctx context.Context, q *virtio.Queue) error {
	var chains [2]vring.Chain
	for {
		for i := range chains {
			if err := q.Next(ctx, &chains[i]); err != nil {
				return err
			}
			echo(&chains[i])
		}
		q.Done(&chains[1])
		q.Done(&chains[0])
	}
}

func restless(ctx context.Context, q *virtio.Queue) error {
	var c vring.Chain
	for {
		own, cancel := context.WithCancel(ctx)
		go cancel()
		switch err := q.Next(own, &c); {
		case err == nil:
			echo(&c)
			q.Done(&c)
		case ctx.Err() != nil:
			return ctx.Err()
		case own.Err() == nil:
			return err
		}
		cancel()
	}
}

// Resets at every moment of many requests, while others kick and look on. After each the
// memory of the session that is over is watched until the next is over too.
func TestDRV_30_ResetStorm(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		t.Run(map[bool]string{false: "modern", true: "legacy"}[legacy], func(t *testing.T) {
			b := newEager()
			r := virtiotest.NewRig(t, b, virtiotest.Options{Legacy: legacy, QueueSize: 32})
			onlookers := startOnlookers(r.Device)
			defer onlookers()

			rnd := rand.New(rand.NewPCG(3, 4))
			var past *vringtest.Snapshot
			for range 150 {
				assert.NilError(t, r.Up(r.Device.Offered()))
				for range rnd.IntN(12) {
					d, _ := pingPong(r.Memory)
					r.Queue(rnd.IntN(3)).Offer(d...)
				}
				if rnd.IntN(2) == 0 {
					d, _ := pingPong(r.Memory)
					r.Queue(0).Offer(d...)
					_, err := r.Queue(0).Wait()
					assert.NilError(t, err)
				}
				assert.NilError(t, r.Reset())
				notified := r.UsedNotifications(0) + r.UsedNotifications(1) + r.UsedNotifications(2)
				if past != nil {
					assert.NilError(t, past.Changed(), "memory of a session that is over")
				}
				past = r.Memory.Snapshot()
				assert.Equal(t, r.UsedNotifications(0)+r.UsedNotifications(1)+r.UsedNotifications(2), notified)
			}
			assert.NilError(t, r.Up(r.Device.Offered()))
			mustEcho(t, r)
			assert.NilError(t, r.Reset())
			assert.NilError(t, past.Changed())
			assert.Equal(t, b.overlaps.Load(), int32(0), "sessions overlap")
		})
	}
}

// startOnlookers makes all the calls that are safe from anywhere, until the result is called.
func startOnlookers(d *virtio.Device) (stop func()) {
	stopped := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stopped:
					return
				default:
					d.Kick()
					d.Stats()
					d.Quiet()
					d.Live()
					d.Status()
					d.Enabled(0)
					runtime.Gosched()
				}
			}
		})
	}
	return func() { close(stopped); wg.Wait() }
}

// A reset while a handler is blocked has to wait for it, and only it.
func TestEndWhileBlockedInAHandler(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	b := &toy{serve: func(ctx context.Context, s *virtio.Session) error {
		return s.Queue(0).Handle(ctx, func(c *vring.Chain) error {
			inside <- struct{}{}
			<-release
			return echo(c)
		})
	}}
	r := newRig(t, b)
	for range 100 {
		assert.NilError(t, r.Up(r.Device.Offered()))
		offerChains(r, 2)
		<-inside
		assert.Assert(t, !r.Device.End())
		before := r.Memory.Snapshot()
		assert.Assert(t, !r.Device.Quiet())
		release <- struct{}{}
		eventually(t, r, "quiet", r.Device.Quiet)
		assert.NilError(t, before.Changed())
	}
}
