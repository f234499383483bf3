package virtio_test

import (
	"context"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// Chains are begun in the order of the ring, and each before its fn.
func TestHandleBegun(t *testing.T) {
	const n = 16
	order := make(chan uint16, n)
	b := &toy{serve: func(ctx context.Context, s *virtio.Session) error {
		return s.Queue(0).HandleBegun(ctx, func(c *vring.Chain) { order <- c.Head() }, echo)
	}}
	r := up(t, b, virtiotest.Options{QueueSize: 2 * n})
	q := r.Queue(0)
	d, _ := pingPong(r.Memory)
	for range 20 {
		var want []uint16
		for i := range uint16(n) {
			q.Chain(2*i, d...)
			want = append(want, 2*i)
		}
		before := q.UsedIdx()
		q.Ring.Offer(want...)
		r.Device.Kick()
		eventually(t, r, "the completions", func() bool { return q.UsedIdx() == before+n })
		assert.Equal(t, len(order), n)
		for _, head := range want {
			assert.Equal(t, <-order, head)
			q.Used()
		}
	}
}

// A chain that was finished is back before its fn returns, once.
func TestHandleParallel_Finish(t *testing.T) {
	b := newHeld()
	r := up(t, b, virtiotest.Options{})
	q := r.Queue(0)
	d, _ := pingPong(r.Memory)
	q.Offer(d...)
	h := b.next(t)
	head := h.c.Head()
	_, err := h.c.Write([]byte("abc"))
	assert.NilError(t, err)
	h.q.Finish(h.c)
	used, ok := q.Used()
	assert.Assert(t, ok)
	assert.Equal(t, used, vringtest.Elem{ID: uint32(head), Len: 3})
	h.answer <- vring.ErrShut
	eventually(t, r, "its fn", func() bool { return b.left.Load() == 1 })
	_, ok = q.Used()
	assert.Assert(t, !ok)
}

// However many chains are dropped whose fn hangs, others are served.
func TestHandleParallel_DropFreesWorker(t *testing.T) {
	b := newHeld()
	r := up(t, b, virtiotest.Options{QueueSize: 4})
	q := r.Queue(0)
	var hung []*hold
	for range 20 {
		d, _ := pingPong(r.Memory)
		q.Offer(d...)
		h := b.next(t)
		hung = append(hung, h)
		h.q.Drop(h.c)
		_, err := q.Wait()
		assert.NilError(t, err)
	}
	for _, h := range hung {
		close(h.answer)
	}
	eventually(t, r, "the hung ones", func() bool { return int(b.left.Load()) == len(hung) })
	d, _ := pingPong(r.Memory)
	head := q.Offer(d...)
	close(b.next(t).answer)
	e, err := q.Wait()
	assert.NilError(t, err)
	assert.Equal(t, e, vringtest.Elem{ID: uint32(head), Len: 4})
}
