package virtio

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hypervisorless/virtio/vring"
)

// Queue is one virtqueue of a session. It adds waiting, notification and counters to a
// vring.Queue. One goroutine owns it: Next, Done, Refuse, Flush and Handle must not run
// concurrently. HandleParallel shares it among many. Index, Size and Stats may be called by
// anyone.
//
// The driver may enable a queue late, disable it, or reset it alone and enable it again with
// another ring (2.6.1): to its owner it is empty meanwhile, and chains of the former ring can
// no longer be served (vring.ErrShut) nor given back.
//
// Completions are held back to be published together: when the queue runs empty, when 32 of
// them wait, or at Flush. A backend that is about to wait for the host calls Flush first.
type Queue struct {
	session *Session
	index   int
	link    atomic.Pointer[link] // as enabled last; nil: never

	// The owner's.
	own    *link        // what it has taken over of it
	ring   *vring.Queue // its ring, or nil
	next   uint16       // available index of its next chain
	streak int          // chains taken since the last wait
	spin   time.Duration

	kick   chan struct{} // one token: look again
	asleep atomic.Uint32 // sleeping | index the owner has seen

	mu     sync.Mutex  // of HandleParallel, which has many owners
	crew   *parallel   // that serves it, or served it last
	chain  vring.Chain // of Handle
	count  QueueStats  // the owner's, copied to shared now and then
	shared queueCounters
	logged bool
}

const (
	sleeping = 1 << 16
	batch    = 32 // completions held back at most
)

func newQueue(s *Session, index int, l *link) *Queue {
	q := &Queue{session: s, index: index, spin: s.dev.opts.Spin, kick: make(chan struct{}, 1)}
	if l != nil {
		q.link.Store(l)
		q.adopt(l)
	}
	return q
}

// Index is the queue's number.
func (q *Queue) Index() int { return q.index }

// Size is the number of entries the driver chose, 0 as long as it has not enabled the queue.
func (q *Queue) Size() int {
	if l := q.link.Load(); l != nil {
		return l.ring.Size()
	}
	return 0
}

// Next waits for the next chain and takes it into c. Bad chains are given back, counted, and
// the first of them logged. The error is ctx's or the session's context's when one of them
// ended; anything else means that the queue is lost and is to be returned from Serve.
func (q *Queue) Next(ctx context.Context, c *vring.Chain) error {
	for {
		if err := ctx.Err(); err != nil {
			return q.leave(err)
		}
		ok, err := q.pop(c)
		switch refused := err.(type) {
		case nil:
			if ok {
				q.taken()
				q.count.Chains++
				q.count.BytesIn += c.Readable()
				return nil
			}
			err := q.Flush()
			if err == nil {
				err = q.wait(ctx)
			}
			if err = q.lost(ctx, err); err != nil {
				return q.leave(err)
			}
		case *vring.ChainError:
			q.taken()
			q.badChain(refused)
			q.full()
		default:
			if err = q.lost(ctx, err); err != nil {
				return q.leave(err)
			}
		}
	}
}

// pop is Pop, but before the first chain is taken touched says so, for a transport that holds
// the gate.
func (q *Queue) pop(c *vring.Chain) (ok bool, err error) {
	if q.ring == nil {
		return false, vring.ErrShut
	}
	if !q.own.touched.Load() {
		idx, err := q.ring.Available()
		if err != nil {
			return false, err
		}
		if idx == q.next {
			return false, nil
		}
		q.own.touched.Store(true)
	}
	return q.ring.Pop(c)
}

// taken keeps the books of a chain that left the available ring.
func (q *Queue) taken() {
	q.next = q.ring.Position()
	if q.streak++; q.streak > 1 {
		q.ring.Disarm() // a second chain without a wait: kicks are a waste
	}
	if q.streak%batch == 0 {
		q.shared.store(&q.count)
	}
}

// full publishes when enough completions wait. An error comes again from the next Pop.
func (q *Queue) full() {
	if q.ring != nil && q.ring.Pending() >= batch {
		q.Flush()
	}
}

// Done gives a chain back with the bytes written to it. One of a former ring is dropped.
func (q *Queue) Done(c *vring.Chain) {
	q.count.BytesOut += uint64(c.Written())
	q.ring.Push(c)
	q.full()
}

// Refuse gives a chain back with length 0 because of err, counts it, and logs the first.
func (q *Queue) Refuse(c *vring.Chain, err error) {
	q.badChain(&vring.ChainError{Queue: q.index, Head: int(c.Head()), Err: err})
	q.ring.Refuse(c)
	q.full()
}

// Flush publishes what was done and notifies the driver if it asked for it. The error, if
// any, comes again from the next call of Next.
func (q *Queue) Flush() error {
	if q.ring == nil {
		return nil
	}
	notify, err := q.ring.Publish()
	if notify {
		q.count.Notified++
		q.shared.store(&q.count) // a queue that waits for the host does not wait in Next
		q.session.dev.transport.NotifyUsed(q.index)
	}
	return err
}

// Handle serves the queue until ctx or the session ends, calling fn for each chain. A nil
// error completes the chain with what fn wrote, any other refuses it. fn must not wait for the
// host for long: what is done already would wait with it.
func (q *Queue) Handle(ctx context.Context, fn func(*vring.Chain) error) error {
	for {
		if err := q.Next(ctx, &q.chain); err != nil {
			return err
		}
		switch err := fn(&q.chain); {
		case err == nil:
			q.Done(&q.chain)
		case !errors.Is(err, vring.ErrShut): // else the chain is the driver's own affair by now
			q.Refuse(&q.chain, err)
		}
	}
}

// leave is the way out of Next while the queue may live on with another context: nothing done
// stays behind.
func (q *Queue) leave(err error) error {
	q.Flush() // an error is the session's end, or comes again
	q.shared.store(&q.count)
	return err
}

// badChain counts a refused chain; the first one of the session is logged.
func (q *Queue) badChain(err error) {
	q.count.Refused++
	if !q.logged {
		q.logged = true
		q.session.dev.say("request refused, further ones of the session are only counted", "queue", q.index, "err", err)
	}
}
