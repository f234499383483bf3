package virtio

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/hypervisorless/virtio/vring"
)

// link is a queue from the moment the driver enables it until it disables or resets it: a ring,
// and the gate before its memory.
type link struct {
	ring    *vring.Queue
	gate    *vring.Gate
	touched atomic.Bool // something was available once
	off     bool        // disabled; guarded by Device.mu, as is the next
	empty   bool        // its gate was found empty since
	resumed bool        // it goes on where another one was
}

// enabled reports whether the driver may count on the queue. Callers hold Device.mu.
func (l *link) enabled() bool { return l != nil && !l.off }

// gone reports whether nothing can touch the memory of a queue that is not enabled. Once is for
// good: whoever knocks at the shut gate later makes it look busy for a moment. Callers hold
// Device.mu.
func (l *link) gone() bool {
	if l != nil && l.off && !l.empty {
		l.empty = l.gate.Empty()
	}
	return l == nil || l.empty
}

// connect gives the queue another ring. The former one is gone.
func (q *Queue) connect(l *link) {
	q.link.Store(l)
	q.wake()
}

// adopt makes a link the owner's.
func (q *Queue) adopt(l *link) {
	q.own, q.ring, q.next, q.streak = l, l.ring, l.ring.Position(), 0
}

// lost is where the owner goes with an error of its ring. If the driver has only shut that, it
// waits here for another one, and for the end of ctx or of the session; what is returned is
// either, or nil to go on, or the error of a queue that is lost.
func (q *Queue) lost(ctx context.Context, err error) error {
	if !errors.Is(err, vring.ErrShut) {
		return err
	}
	q.shared.store(&q.count)
	for {
		if l := q.link.Load(); l != q.own {
			q.adopt(l)
			return nil
		}
		// Not only when the queue was disabled: a Standing may have said no before the
		// transport looked, which is on its way.
		select {
		case <-q.kick:
		case <-ctx.Done():
			return ctx.Err()
		case <-q.session.ctx.Done():
			return q.session.ctx.Err()
		}
	}
}
