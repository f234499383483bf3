package virtio_test

import (
	"context"
	"io"
	"testing"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring"
	"gotest.tools/v3/assert"
)

// stubborn is a backend that is in the middle of a request when the reset comes, and goes on
// as if nothing were.
type stubborn struct {
	toy
	inside  chan struct{} // receives when a request was taken
	release chan struct{} // lets it go on
	late    chan struct{} // lets the goroutine go on that it should not have left behind
	errs    chan error    // of each access after that
}

func newStubborn() *stubborn {
	b := &stubborn{
		inside: make(chan struct{}), release: make(chan struct{}),
		late: make(chan struct{}), errs: make(chan error, 8),
	}
	b.serve = func(ctx context.Context, s *virtio.Session) error {
		q := s.Queue(0)
		var c vring.Chain
		if err := q.Next(ctx, &c); err != nil {
			return err
		}
		b.inside <- struct{}{}
		<-b.release
		b.goOn(q, &c)
		go func() {
			<-b.late
			b.goOn(q, &c)
		}()
		return ctx.Err()
	}
	return b
}

func (b *stubborn) goOn(q *virtio.Queue, c *vring.Chain) {
	_, err := c.Read(make([]byte, 1))
	b.errs <- err
	_, err = c.Write([]byte{'!'})
	b.errs <- err
	q.Done(c)
	b.errs <- q.Flush()
	b.errs <- q.Next(context.Background(), c)
}

func TestRST_01_StatusIsZeroWhenTheSessionHasLetGo(t *testing.T) {
	b := newStubborn()
	r := newRig(t, b)
	assert.NilError(t, r.Up(r.Device.Offered()))
	d, _ := pingPong(r.Memory)
	r.Queue(0).Offer(d...)
	<-b.inside

	const live = ack | driver | features | driverOK
	assert.Equal(t, r.Device.SetStatus(0), live)
	assert.Assert(t, !r.Device.Quiet())
	assert.Assert(t, !r.Device.FinishReset())
	assert.Equal(t, r.Device.SetStatus(ack), live, "nothing happens before the reset is complete")
	assert.ErrorContains(t, r.Enable(0), "while a session ends")
	assert.Equal(t, r.Device.Status(), live)

	close(b.release)
	eventually(t, r, "the end of the reset", r.Device.FinishReset)
	assert.Equal(t, r.Device.Status(), virtio.Status(0))
	assert.Assert(t, r.Device.Quiet())
	close(b.late)
}

func TestRST_02_NothingHappensAfterTheReset(t *testing.T) {
	b := newStubborn()
	r := newRig(t, b)
	assert.NilError(t, r.Up(r.Device.Offered()))
	d, _ := pingPong(r.Memory)
	r.Queue(0).Offer(d...)
	<-b.inside
	d, _ = pingPong(r.Memory)
	r.Queue(0).Offer(d...) // it could go on with this one

	r.Device.SetStatus(0)
	before := r.Memory.Snapshot()
	close(b.release)
	expect := func(want ...error) {
		t.Helper()
		for _, w := range want {
			assert.ErrorIs(t, <-b.errs, w)
		}
	}
	expect(vring.ErrShut, vring.ErrShut, vring.ErrShut, context.Canceled)
	eventually(t, r, "the end of the reset", r.Device.FinishReset)
	assert.NilError(t, before.Changed())

	close(b.late)
	expect(vring.ErrDone, vring.ErrDone, nil, context.Canceled)
	assert.NilError(t, before.Changed())
	assert.Equal(t, r.UsedNotifications(0)+r.ConfigNotifications(), uint64(0))
}

func TestRST_03_ResetDisablesQueues(t *testing.T) {
	r := newRig(t, &toy{info: virtio.Info{Queues: []uint16{4, 8, 16}}})
	for _, live := range []bool{false, true} {
		assert.NilError(t, r.Negotiate(r.Device.Offered()))
		for i := range 3 {
			assert.NilError(t, r.Enable(i))
			assert.Assert(t, r.Device.Enabled(i))
		}
		if live {
			assert.NilError(t, r.Go())
			assert.Assert(t, r.Device.Enabled(2))
		}
		assert.NilError(t, r.Reset())
		for i := range 3 {
			assert.Assert(t, !r.Device.Enabled(i), "queue %d, live %v", i, live)
		}
	}
}

func TestRST_04_EverythingIsInitialAfterReset(t *testing.T) {
	lives := 0
	b := &toy{info: virtio.Info{Features: set(9)}, serve: func(ctx context.Context, s *virtio.Session) error {
		lives++
		return s.Queue(0).Handle(ctx, echo)
	}}
	r := newRig(t, b)
	for range 5 {
		assert.NilError(t, r.Up(r.Device.Offered()))
		mustEcho(t, r)
		mustEcho(t, r)
		assert.NilError(t, r.Reset())
		assert.DeepEqual(t, r.Device.DriverFeatures(), set())
		st := r.Device.Stats()
		assert.DeepEqual(t, st.Features, set())
		assert.DeepEqual(t, st.Queues, make([]virtio.QueueStats, 1))
	}
	assert.Equal(t, lives, 5)
	assert.Equal(t, r.Device.Stats().Sessions, uint64(5))
}

// The end of a session in the legacy way, which knows no reset that is answered.
func TestEnd(t *testing.T) {
	b := newStubborn()
	r := virtiotest.NewRig(t, b, virtiotest.Options{Legacy: true})
	assert.Assert(t, r.Device.End(), "nothing to end")
	assert.NilError(t, r.Up(set(virtio.EventIdx)))
	d, _ := pingPong(r.Memory)
	r.Queue(0).Offer(d...)
	<-b.inside

	assert.Assert(t, !r.Device.End())
	assert.Assert(t, !r.Device.End(), "a second time")
	assert.Assert(t, !r.Device.Live() && !r.Device.Enabled(0))
	r.Device.Start()
	assert.Assert(t, !r.Device.Live(), "not before the old session has let go")
	// The rebooted driver may be quicker than the backend.
	r.Device.SetDriverFeatures(set(virtio.IndirectDesc))
	assert.DeepEqual(t, r.Device.DriverFeatures(), set(virtio.IndirectDesc))

	close(b.release)
	eventually(t, r, "quiet", r.Device.Quiet)
	close(b.late)
	assert.DeepEqual(t, r.Device.DriverFeatures(), set(virtio.IndirectDesc))
	assert.Assert(t, r.Device.End())
}

// A backend that is slow to leave has let go of the memory long before.
func TestReleased(t *testing.T) {
	b := newStubborn()
	r := newRig(t, b)
	assert.Assert(t, r.Device.Released())
	assert.NilError(t, r.Up(r.Device.Offered()))
	assert.Assert(t, !r.Device.Released())
	offerChains(r, 1)
	<-b.inside
	assert.Assert(t, !r.Device.Released())
	r.Device.SetStatus(0)
	assert.Assert(t, r.Device.Released() && !r.Device.Quiet())
	close(b.release)
	close(b.late)
	eventually(t, r, "the end of the reset", r.Device.FinishReset)
	assert.Assert(t, r.Device.Released())
}

// A chain taken before the session's end is nobody's after it; the next session's chains are
// not mixed up with it.
func TestChainOfAnEndedSession(t *testing.T) {
	var c vring.Chain
	taken := make(chan *virtio.Queue)
	first := true
	b := &toy{serve: func(ctx context.Context, s *virtio.Session) error {
		if !first {
			return s.Queue(0).Handle(ctx, echo)
		}
		first = false
		err := s.Queue(0).Next(ctx, &c)
		taken <- s.Queue(0)
		<-ctx.Done()
		return err
	}}
	r := newRig(t, b)
	assert.NilError(t, r.Up(r.Device.Offered()))
	d, _ := pingPong(r.Memory)
	r.Queue(0).Offer(d...)
	q := <-taken
	assert.NilError(t, r.Reset())
	assert.NilError(t, r.Up(r.Device.Offered()))

	before := r.Memory.Snapshot()
	_, err := c.Write([]byte("x"))
	assert.ErrorIs(t, err, vring.ErrShut)
	_, err = io.ReadAll(&c)
	assert.ErrorIs(t, err, vring.ErrShut)
	q.Refuse(&c, err)
	assert.ErrorIs(t, q.Flush(), vring.ErrShut)
	assert.NilError(t, before.Changed(r.Queue(0).UsedRange()))
	mustEcho(t, r)
	assert.NilError(t, r.Reset())
}
