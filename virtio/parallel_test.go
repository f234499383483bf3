package virtio_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
	"gotest.tools/v3/assert"
)

// held answers like echo, when it is told to: each chain waits for its turn.
type held struct {
	toy
	arrived chan *hold
	left    atomic.Int32
}

type hold struct {
	q      *virtio.Queue
	c      *vring.Chain
	answer chan error
}

func newHeld() *held {
	b := &held{arrived: make(chan *hold)}
	b.serve = func(ctx context.Context, s *virtio.Session) error {
		q := s.Queue(0)
		return q.HandleParallel(ctx, func(c *vring.Chain) error {
			h := &hold{q, c, make(chan error)}
			b.arrived <- h
			err := <-h.answer
			if err == nil {
				err = echo(c)
			}
			b.left.Add(1)
			return err
		})
	}
	return b
}

// next is the next chain that was taken.
func (b *held) next(t *testing.T) *hold {
	t.Helper()
	select {
	case h := <-b.arrived:
		return h
	case <-time.After(10 * time.Second):
		t.Fatal("the chain is not taken")
		return nil
	}
}

// A request that takes long hinders no other one, as many as there are entries; and they come
// back in any order.
func TestHandleParallel(t *testing.T) {
	b := newHeld()
	r := up(t, b, virtiotest.Options{QueueSize: 16})
	q := r.Queue(0)
	for range 3 {
		d, _ := pingPong(r.Memory)
		var holds []*hold
		for range q.Size {
			q.Chain(2*uint16(len(holds))%q.Size, d...)
			q.SetAvail(q.AvailIdx(), 2*uint16(len(holds))%q.Size)
			q.SetAvailIdx(q.AvailIdx() + 1)
			r.Device.Kick()
			holds = append(holds, b.next(t))
		}
		rand.Shuffle(len(holds), func(i, j int) { holds[i], holds[j] = holds[j], holds[i] })
		for _, h := range holds {
			head, before := h.c.Head(), q.UsedIdx()
			close(h.answer)
			eventually(t, r, "the completion", func() bool { return q.UsedIdx() == before+1 })
			used, _ := q.Used()
			assert.Equal(t, used, vringtest.Elem{ID: uint32(head), Len: 4})
		}
	}
	assert.NilError(t, r.Device.Broken())
}

// A chain that is dropped comes back empty at once, and whatever its request says later is not
// heard.
func TestHandleParallel_Drop(t *testing.T) {
	for _, late := range []error{nil, errors.New("late"), vring.ErrShut} {
		b := newHeld()
		r := up(t, b, virtiotest.Options{})
		q := r.Queue(0)
		d, _ := pingPong(r.Memory)
		q.Offer(d...)
		h := b.next(t)
		head := h.c.Head()
		_, err := h.c.Write([]byte("half"))
		assert.NilError(t, err)
		h.q.Drop(h.c)
		used, ok := q.Used()
		assert.Assert(t, ok)
		assert.Equal(t, used, vringtest.Elem{ID: uint32(head), Len: 0})
		assert.Equal(t, r.UsedNotifications(0), uint64(1))
		if late != nil {
			h.answer <- late
		} else {
			close(h.answer)
		}
		eventually(t, r, "the late one", func() bool { return b.left.Load() == 1 })
		d, _ = pingPong(r.Memory)
		head = q.Offer(d...)
		close(b.next(t).answer)
		eventually(t, r, "the next one", func() bool { used, ok = q.Used(); return ok })
		assert.Equal(t, used, vringtest.Elem{ID: uint32(head), Len: 4})
		_, ok = q.Used()
		assert.Assert(t, !ok)
	}
}

// A reset does not wait for a request that hangs, and that one cannot reach the driver's memory
// afterwards.
func TestHandleParallel_ResetWhileInside(t *testing.T) {
	b := newHeld()
	r := virtiotest.NewRig(t, b, virtiotest.Options{})
	var hung []*hold
	for range 5 {
		assert.NilError(t, r.Up(r.Device.Offered()))
		d, _ := pingPong(r.Memory)
		r.Queue(0).Offer(d...)
		hung = append(hung, b.next(t))
		assert.NilError(t, r.Reset())
	}
	assert.NilError(t, r.Up(r.Device.Offered()))
	before := r.Memory.Snapshot()
	for i, h := range hung {
		_, err := h.c.Write([]byte("x"))
		assert.Equal(t, err, vring.ErrShut)
		close(h.answer)
		eventually(t, r, "the hung one", func() bool { return int(b.left.Load()) == i+1 })
	}
	assert.NilError(t, before.Changed())
	assert.NilError(t, r.Reset())
}

// However a request leaves, the device says so and is served again after a reset.
func TestHandleParallel_Leaves(t *testing.T) {
	for _, tt := range []struct {
		name  string
		leave func() error
		want  string // "" if it may
	}{
		{"with an error", func() error { return errors.New("refused") }, ""},
		{"by a panic", func() error { panic("boom") }, "backend panicked in HandleParallel: boom"},
		{"by Goexit", func() error { runtime.Goexit(); return nil }, "returned from Serve"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var served atomic.Int32
			b := &toy{serve: func(ctx context.Context, s *virtio.Session) error {
				return s.Queue(0).HandleParallel(ctx, func(c *vring.Chain) error {
					if served.Add(1) == 1 {
						return tt.leave()
					}
					return echo(c)
				})
			}}
			r := newRig(t, b)
			assert.NilError(t, r.Up(r.Device.Offered()))
			d, _ := pingPong(r.Memory)
			r.Queue(0).Offer(d...)
			if tt.want == "" {
				e, err := r.Queue(0).Wait()
				assert.NilError(t, err)
				assert.Equal(t, e.Len, uint32(0))
				assert.NilError(t, r.Device.Broken())
				mustEcho(t, r)
				eventually(t, r, "the counter", func() bool { return r.Device.Stats().Queues[0].Refused == 1 })
			} else {
				eventually(t, r, "the end", func() bool { return r.Device.Broken() != nil })
				assert.ErrorContains(t, r.Device.Broken(), tt.want)
			}
			assert.NilError(t, r.Reset())
			assert.NilError(t, r.Up(r.Device.Offered()))
			mustEcho(t, r)
			assert.NilError(t, r.Reset())
		})
	}
}

// A call ends with its context, and the next one misses nothing, nor does what the first one
// left inside get lost.
func TestHandleParallel_Contexts(t *testing.T) {
	b := &toy{}
	b.serve = func(ctx context.Context, s *virtio.Session) error {
		for ctx.Err() == nil {
			own, cancel := context.WithCancel(ctx)
			err := s.Queue(0).HandleParallel(own, func(c *vring.Chain) error {
				cancel()
				runtime.Gosched()
				return echo(c)
			})
			if own.Err() == nil {
				return err
			}
		}
		return ctx.Err()
	}
	r := up(t, b, virtiotest.Options{})
	for range 2000 {
		mustEcho(t, r)
	}
}

// byParallel is for laps, whose requests do not block.
func byParallel(ctx context.Context, q *virtio.Queue) error {
	return q.HandleParallel(ctx, func(c *vring.Chain) error {
		var p [4]byte
		if _, err := c.Read(p[:]); err != nil {
			return err
		}
		_, err := c.Write(p[:])
		return err
	})
}

// However chains arrive and however long each takes, every one comes back once.
func TestHandleParallel_Storm(t *testing.T) {
	b := &toy{serve: func(ctx context.Context, s *virtio.Session) error {
		return s.Queue(0).HandleParallel(ctx, func(c *vring.Chain) error {
			for range rand.IntN(40) {
				runtime.Gosched()
			}
			return echo(c)
		})
	}}
	r := up(t, b, virtiotest.Options{QueueSize: 64, Buffers: 1 << 20})
	rnd := rand.New(rand.NewPCG(5, 6))
	q := r.Queue(0)
	d, _ := pingPong(r.Memory)
	flying := 0
	for range 20000 {
		if q.Free() >= len(d) && rnd.IntN(3) > 0 {
			q.Offer(d...)
			flying++
		} else if flying > 0 {
			e, err := q.Wait()
			assert.NilError(t, err)
			assert.Equal(t, e.Len, uint32(4))
			flying--
		}
	}
	for ; flying > 0; flying-- {
		_, err := q.Wait()
		assert.NilError(t, err)
	}
}

// A chain that is refused comes back at once, also if the one behind it takes long and another
// worker waits for a kick.
func TestHandleParallel_RefusedBeforeBlocked(t *testing.T) {
	b := newHeld()
	r := up(t, b, virtiotest.Options{QueueSize: 16})
	q := r.Queue(0)
	d, _ := pingPong(r.Memory)
	var holds []*hold
	for head := uint16(0); head < 4; head += 2 { // three workers: all idle when both are done
		q.Chain(head, d...)
		q.Ring.Offer(head)
		r.Device.Kick()
		holds = append(holds, b.next(t))
	}
	for _, h := range holds {
		close(h.answer)
	}
	used := func(n uint16) {
		t.Helper()
		eventually(t, r, "completion", func() bool { return q.UsedIdx() == n })
	}
	used(2)
	q.Chain(8, vringtest.Readable(^uint64(0)-100, 4))
	q.Chain(10, d...)
	q.Ring.Offer(8, 10)
	r.Device.Kick()
	h := b.next(t)
	assert.Equal(t, h.c.Head(), uint16(10))
	used(3)
	close(h.answer)
	used(4)
}
