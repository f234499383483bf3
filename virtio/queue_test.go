package virtio_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
	"gotest.tools/v3/assert"
)

// remote is a backend that does what the test tells it, on its own goroutine.
type remote struct {
	toy
	do chan func(ctx context.Context, s *virtio.Session)
}

func newRemote() *remote {
	b := &remote{do: make(chan func(context.Context, *virtio.Session))}
	b.serve = func(ctx context.Context, s *virtio.Session) error {
		for {
			select {
			case f := <-b.do:
				f(ctx, s)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return b
}

// call does f on the backend's goroutine and waits for its end.
func (b *remote) call(f func(ctx context.Context, s *virtio.Session)) {
	done := make(chan struct{})
	b.do <- func(ctx context.Context, s *virtio.Session) {
		defer close(done)
		f(ctx, s)
	}
	<-done
}

// offer makes n chains available on queue 0.
func offerChains(r *virtiotest.Rig, n int) {
	for range n {
		d, _ := pingPong(r.Memory)
		r.Queue(0).Offer(d...)
	}
}

// sleeps waits until the backend of queue 0 has gone to sleep n times.
func sleeps(t *testing.T, r *virtiotest.Rig, n uint64) {
	t.Helper()
	eventually(t, r, "sleep", func() bool { return r.Device.Stats().Queues[0].Waits == n })
}

func TestNTF_01_SpuriousNotifications(t *testing.T) {
	r := up(t, &toy{}, virtiotest.Options{})
	sleeps(t, r, 1)
	mustEcho(t, r)
	sleeps(t, r, 2)
	before := r.Memory.Snapshot()
	for range 1000 {
		assert.Assert(t, !r.Device.Kick())
	}
	assert.NilError(t, before.Changed())
	assert.Equal(t, r.Device.Stats().Queues[0].Waits, uint64(2), "a kick of an idle queue wakes nobody")
	assert.Equal(t, r.UsedNotifications(0), uint64(1))
	mustEcho(t, r)
	eventually(t, r, "sleep", func() bool { return r.Device.Stats().Queues[0].Chains == 2 })
	assert.Equal(t, r.Device.Stats().Queues[0].Waits, uint64(3))
}

func TestDRV_19_KickFlood(t *testing.T) {
	r := up(t, &toy{info: virtio.Info{Queues: []uint16{16, 16}}}, virtiotest.Options{})
	assert.ErrorContains(t, r.Device.EnableQueue(nil, vring.Config{Index: 2}), "no queue 2")
	assert.ErrorContains(t, r.Device.EnableQueue(nil, vring.Config{Index: -1}), "no queue -1")
	assert.Equal(t, r.Device.MaxSize(2), uint16(0))
	assert.Equal(t, r.Device.MaxSize(-1), uint16(0))
	r.Device.DisableQueue(-1)
	assert.Assert(t, !r.Device.Enabled(2))

	stop := make(chan struct{})
	stopped := make(chan struct{})
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
	const n = 300
	for range n {
		mustEcho(t, r)
	}
	close(stop)
	<-stopped
	eventually(t, r, "sleep", func() bool { return r.Device.Stats().Queues[0].Chains == n })
	waits := r.Device.Stats().Queues[0].Waits
	assert.Assert(t, waits <= 2*n+1, "%d waits for %d requests", waits, n)
}

func TestDRV_24_QueueSizeAboveTheMaximum(t *testing.T) {
	r := newRig(t, &toy{info: virtio.Info{Queues: []uint16{8}}})
	layout := r.Memory.Modern(16)
	err := r.Device.EnableQueue(r.Memory.Space, vring.Config{Layout: layout})
	assert.ErrorContains(t, err, "size 16 is more than the maximum of 8")
	layout.Size = 0
	err = r.Device.EnableQueue(r.Memory.Space, vring.Config{Layout: layout})
	assert.ErrorIs(t, err, vring.ErrSize)
	assert.Assert(t, !r.Device.Enabled(0))
	assert.NilError(t, r.Enable(0))
}

// Completions are held back, but never longer than it takes to fall asleep.
func TestDoneIsPublishedInBatches(t *testing.T) {
	b := newRemote()
	r := up(t, b, virtiotest.Options{QueueSize: 128})
	offerChains(r, 50)
	used := func() int { return int(r.Queue(0).UsedIdx()) }
	var c vring.Chain
	take := func(n int) {
		b.call(func(ctx context.Context, s *virtio.Session) {
			for range n {
				assert.Check(t, s.Queue(0).Next(ctx, &c) == nil)
				s.Queue(0).Done(&c)
			}
		})
	}
	take(31)
	assert.Equal(t, used(), 0)
	take(1)
	assert.Equal(t, used(), 32)
	take(2)
	assert.Equal(t, used(), 32)
	b.call(func(ctx context.Context, s *virtio.Session) { assert.Check(t, s.Queue(0).Flush() == nil) })
	assert.Equal(t, used(), 34)
	take(15)
	assert.Equal(t, used(), 34)
	b.do <- func(ctx context.Context, s *virtio.Session) { // the last one, and then it sleeps
		for s.Queue(0).Next(ctx, &c) == nil {
			s.Queue(0).Refuse(&c, io.ErrUnexpectedEOF)
		}
	}
	eventually(t, r, "all of them", func() bool { return used() == 50 })
	sleeps(t, r, 1)
	st := r.Device.Stats().Queues[0]
	st.Notified = 0 // up to the driver
	assert.DeepEqual(t, st, virtio.QueueStats{Size: 128, Chains: 50, Refused: 1, BytesIn: 200, Waits: 1})
}

// A storm of bad chains is given back as it is refused, and its session ends all the same.
func TestRefusedChainsArePublished(t *testing.T) {
	b := newRemote()
	r := up(t, b, virtiotest.Options{QueueSize: 64})
	q := r.Queue(0)
	bad := vringtest.Readable(1, 1) // outside of the memory
	for range 40 {
		q.Offer(bad)
	}
	offerChains(r, 1)
	b.call(func(ctx context.Context, s *virtio.Session) {
		var c vring.Chain
		assert.Check(t, s.Queue(0).Next(ctx, &c) == nil)
		assert.Check(t, c.Readable() == 4)
	})
	assert.Equal(t, q.UsedIdx(), uint16(32))
}

// A context that ends does not end the queue with it, and costs nobody a chain.
func TestNextWithAContextOfItsOwn(t *testing.T) {
	b := newRemote()
	r := up(t, b, virtiotest.Options{})
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	var c vring.Chain

	// It ends while the queue sleeps.
	b.call(func(ctx context.Context, s *virtio.Session) {
		own, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		assert.Check(t, errors.Is(s.Queue(0).Next(own, &c), context.DeadlineExceeded))
	})
	// It has ended before: the chain that waits is left alone, and one that is done is told.
	offerChains(r, 2)
	b.call(func(ctx context.Context, s *virtio.Session) {
		q := s.Queue(0)
		assert.Check(t, errors.Is(q.Next(ended, &c), context.Canceled))
		assert.Check(t, q.Next(ctx, &c) == nil)
		q.Done(&c)
		assert.Check(t, errors.Is(q.Next(ended, &c), context.Canceled))
		assert.Check(t, r.Queue(0).UsedIdx() == 1)
		assert.Check(t, q.Next(ctx, &c) == nil)
		q.Done(&c)
		assert.Check(t, q.Flush() == nil)
	})
	assert.Equal(t, r.Queue(0).UsedIdx(), uint16(2))
	st := r.Device.Stats().Queues[0]
	assert.Equal(t, st.Refused, uint64(0))

	// It has nothing to do with the session, which ends first.
	err := make(chan error)
	b.do <- func(ctx context.Context, s *virtio.Session) { err <- s.Queue(0).Next(context.Background(), &c) }
	r.Device.SetStatus(0)
	assert.ErrorIs(t, <-err, context.Canceled)
}

func TestQueueThatIsNotEnabled(t *testing.T) {
	b := newRemote()
	b.info.Queues = []uint16{4, 4}
	r := newRig(t, b)
	assert.NilError(t, r.Up(r.Device.Offered(), 1))
	b.call(func(ctx context.Context, s *virtio.Session) {
		assert.Check(t, s.Queue(0) != nil && s.Queue(1) != nil && s.Queue(2) == nil && s.Queue(-1) == nil)
		assert.Check(t, s.Queue(0).Size() == 0 && s.Queue(0).Flush() == nil)
		assert.Check(t, s.Queue(1).Index() == 1)
		assert.Check(t, s.Queue(1).Size() == 4)
	})
	err := make(chan error, 1)
	b.do <- func(ctx context.Context, s *virtio.Session) { err <- s.Queue(0).Handle(ctx, echo) }
	assert.NilError(t, r.Reset())
	assert.ErrorIs(t, <-err, context.Canceled)
}

func TestSpin(t *testing.T) {
	r := up(t, &toy{}, virtiotest.Options{Spin: time.Hour})
	sleeps(t, r, 1)
	mustEcho(t, r)
	// From now on it is awake: nobody has to kick it.
	q := r.Queue(0)
	for i := range uint16(50) {
		d, _ := pingPong(r.Memory)
		q.Chain(0, d...)
		q.SetAvail(1+i, 0)
		q.SetAvailIdx(2 + i)
		eventually(t, r, "completion", func() bool { return q.UsedIdx() == 2+i })
	}
}

// A ring that is told to go on while the transport holds it goes on when it is released.
func TestTryHold(t *testing.T) {
	var blocked atomic.Bool
	inside, release := make(chan struct{}), make(chan struct{})
	r := up(t, &toy{}, virtiotest.Options{Standing: func() bool {
		if blocked.CompareAndSwap(true, false) {
			inside <- struct{}{}
			<-release
		}
		return true
	}})
	d := r.Device
	sleeps(t, r, 1)
	assert.Assert(t, d.TryHold())
	assert.Assert(t, d.Untouched(0))
	go offerChains(r, 1) // waits at the gate, or its backend does
	assert.Assert(t, d.Untouched(0))
	assert.Equal(t, r.Queue(0).UsedIdx(), uint16(0))
	d.Release()
	eventually(t, r, "completion", func() bool { return r.Queue(0).UsedIdx() == 1 })
	assert.Assert(t, !d.Untouched(0))

	// While something is in the middle of an access there is no hold.
	sleeps(t, r, 2)
	blocked.Store(true)
	offerChains(r, 1)
	<-inside
	assert.Assert(t, !d.TryHold())
	close(release)
	eventually(t, r, "completion", func() bool { return r.Queue(0).UsedIdx() == 2 })
	eventually(t, r, "hold", func() bool { return d.TryHold() })
	d.Release()
}

// A session that no longer stands is left alone until the transport ends it.
func TestStanding(t *testing.T) {
	var fallen atomic.Bool
	looked := make(chan struct{}, 1)
	r := up(t, &toy{}, virtiotest.Options{Standing: func() bool {
		if fallen.Load() {
			select {
			case looked <- struct{}{}:
			default:
			}
			return false
		}
		return true
	}})
	sleeps(t, r, 1)
	fallen.Store(true)
	d, _ := pingPong(r.Memory)
	q := r.Queue(0)
	q.Chain(0, d...)
	q.SetAvail(q.AvailIdx(), 0)
	q.SetAvailIdx(q.AvailIdx() + 1)
	before := r.Memory.Snapshot()
	r.Device.Kick()
	<-looked
	assert.Assert(t, r.Device.Live())
	assert.NilError(t, r.Reset())
	assert.NilError(t, before.Changed())
	assert.NilError(t, r.Device.Broken())
}
