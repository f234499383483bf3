package virtio_test

import (
	"context"
	"testing"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring"
	"gotest.tools/v3/assert"
)

// both serves two queues with an echo.
func both(ctx context.Context, s *virtio.Session) error {
	second := make(chan error)
	go func() { second <- s.Queue(1).Handle(ctx, echo) }()
	err := s.Queue(0).Handle(ctx, echo)
	<-second
	return err
}

func mustEchoOn(t *testing.T, r *virtiotest.Rig, queue int) {
	t.Helper()
	reply, err := r.Queue(queue).Do([]byte("ping"), 8)
	assert.NilError(t, err)
	assert.Equal(t, string(reply), "ping")
}

func TestQueueEnabledLate(t *testing.T) {
	r := virtiotest.NewRig(t, &toy{info: virtio.Info{Queues: []uint16{4, 4}}, serve: both}, virtiotest.Options{})
	assert.NilError(t, r.Up(r.Device.Offered(), 0))
	mustEchoOn(t, r, 0)
	assert.Assert(t, !r.Device.Enabled(1) && r.Device.QueueReleased(1))
	assert.NilError(t, r.Enable(1))
	assert.Assert(t, r.Device.Enabled(1) && !r.Device.QueueReleased(1))
	mustEchoOn(t, r, 1)
	mustEchoOn(t, r, 0)
	assert.ErrorContains(t, r.Enable(1), "enabled already")
	assert.NilError(t, r.Reset())
	assert.Assert(t, !r.Device.Enabled(1))
}

// One queue is reset and comes back elsewhere, again and again, while the other one goes on.
func TestQueueReset(t *testing.T) {
	b := &toy{info: virtio.Info{Queues: []uint16{4, 4}, InOrder: true}, serve: both}
	r := virtiotest.NewRig(t, b, virtiotest.Options{Buffers: 1 << 18})
	assert.NilError(t, r.Up(r.Device.Offered()))
	for range 100 {
		mustEchoOn(t, r, 1)
		mustEchoOn(t, r, 1)
		_, ok := r.Device.Position(1)
		assert.Assert(t, !ok, "a live queue has no position")
		r.Device.DisableQueue(1)
		eventually(t, r, "release of the queue", func() bool { return r.Device.QueueReleased(1) })
		pos, ok := r.Device.Position(1)
		assert.Assert(t, ok && pos == 2)
		assert.Assert(t, !r.Device.Enabled(1))

		d, _ := pingPong(r.Memory)
		r.Queue(1).Offer(d...)
		r.Device.Kick()
		mustEchoOn(t, r, 0)
		assert.Equal(t, r.Queue(1).UsedIdx(), uint16(2), "a queue that is disabled")
		assert.NilError(t, r.Enable(1))
	}
	mustEchoOn(t, r, 1)
	assert.Equal(t, r.Device.Stats().Sessions, uint64(1))
	assert.NilError(t, r.Reset())
}

// What the device holds of the former ring can neither be served nor given back.
func TestQueueResetWhileServed(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	late := make(chan error, 1)
	b := &toy{serve: func(ctx context.Context, s *virtio.Session) error {
		q := s.Queue(0)
		var c vring.Chain
		if err := q.Next(ctx, &c); err != nil {
			return err
		}
		inside <- struct{}{}
		<-release
		_, err := c.Write([]byte("!"))
		late <- err
		q.Done(&c)
		return q.Handle(ctx, echo)
	}}
	r := virtiotest.NewRig(t, b, virtiotest.Options{})
	assert.NilError(t, r.Up(r.Device.Offered()))
	d, _ := pingPong(r.Memory)
	r.Queue(0).Offer(d...)
	<-inside
	former := r.Queue(0)
	assert.Assert(t, r.Device.DisableQueue(0), "nobody is inside an access")
	assert.NilError(t, r.Enable(0))
	close(release)
	assert.ErrorIs(t, <-late, vring.ErrShut)
	mustEcho(t, r)
	assert.Equal(t, former.UsedIdx(), uint16(0))
	assert.Equal(t, r.Queue(0).UsedIdx(), uint16(1))
	assert.Equal(t, r.Device.Stats().Queues[0].Refused, uint64(0))
	assert.NilError(t, r.Reset())
}

// A queue cannot be enabled anew while an access to its former memory is under way.
func TestQueueResetWaitsForTheAccess(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	armed := false
	r := virtiotest.NewRig(t, &toy{}, virtiotest.Options{Standing: func() bool {
		if armed {
			armed = false
			inside <- struct{}{}
			<-release
		}
		return true
	}})
	assert.NilError(t, r.Negotiate(r.Device.Offered()))
	assert.NilError(t, r.Enable(0))
	armed = true
	assert.NilError(t, r.Go())
	<-inside
	assert.Assert(t, !r.Device.DisableQueue(0))
	assert.Assert(t, !r.Device.QueueReleased(0))
	assert.ErrorContains(t, r.Enable(0), "still in use")
	_, ok := r.Device.Position(0)
	assert.Assert(t, !ok)
	close(release)
	eventually(t, r, "release of the queue", func() bool { return r.Device.QueueReleased(0) })
	assert.NilError(t, r.Enable(0))
	mustEcho(t, r)
	assert.NilError(t, r.Reset())
}

// A queue that was released stays so, whoever knocks at its gate meanwhile.
func TestQueueReleasedIsFinal(t *testing.T) {
	b := &toy{info: virtio.Info{Queues: []uint16{4, 4}, InOrder: true}, serve: both}
	r := virtiotest.NewRig(t, b, virtiotest.Options{Buffers: 1 << 20})
	assert.NilError(t, r.Up(r.Device.Offered()))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				r.Device.Kick()
			}
		}
	}()
	for range 500 {
		r.Device.DisableQueue(1)
		eventually(t, r, "release of the queue", func() bool { return r.Device.QueueReleased(1) })
		for range 100 {
			assert.Assert(t, r.Device.QueueReleased(1), "a queue that was released")
		}
		assert.NilError(t, r.Enable(1))
	}
	close(stop)
	<-stopped
	assert.NilError(t, r.Reset())
}
