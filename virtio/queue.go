package virtio

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hypervisorless/virtio/vring"
)

// Queue is one virtqueue of a session. It adds waiting, notification and counters to a
// vring.Queue. One goroutine owns it: Next, Done, Refuse, Flush and Handle must not run
// concurrently. Stats may be called by anyone.
//
// Completions are held back to be published together: when the queue runs empty, when 32 of
// them wait, or at Flush. A backend that is about to wait for the host calls Flush first.
type Queue struct {
	ring    *vring.Queue
	gate    *vring.Gate
	session *Session
	index   int

	kick   chan struct{} // one token: look again
	asleep atomic.Uint32 // sleeping<<16 | index the owner has seen
	next   uint16        // index of the next chain, the owner's count
	streak int           // chains taken since the last wait
	spin   time.Duration

	chain  vring.Chain // of Handle
	count  QueueStats  // the owner's, copied to shared at Flush
	shared queueCounters
	logged bool
}

const (
	sleeping = 1 << 16
	batch    = 32 // completions held back at most
)

// Index is the queue's number.
func (q *Queue) Index() int { return q.index }

// Size is the number of entries the driver chose.
func (q *Queue) Size() int { return q.ring.Size() }

// Next waits for the next chain and takes it into c. Bad chains are given back, counted, and
// the first of them logged. The error is ctx's when it or the session ended; anything else
// means that the queue is lost and is to be returned from Serve.
func (q *Queue) Next(ctx context.Context, c *vring.Chain) error {
	for {
		ok, err := q.ring.Pop(c)
		if ok {
			return q.taken(ctx, c)
		}
		if refused := (*vring.ChainError)(nil); errors.As(err, &refused) {
			q.next++
			q.badChain(err)
			continue
		}
		if err != nil {
			return q.lost(ctx, err)
		}
		if err := q.Flush(); err != nil {
			return q.lost(ctx, err)
		}
		if err := q.wait(ctx); err != nil {
			return err
		}
	}
}

// taken keeps the books of a popped chain.
func (q *Queue) taken(ctx context.Context, c *vring.Chain) error {
	q.next++
	q.count.Chains++
	q.count.BytesIn += c.Readable()
	if q.streak++; q.streak > 1 {
		q.ring.Disarm() // a second chain without a wait: kicks are a waste
	}
	if q.streak%batch == 0 {
		q.shared.store(&q.count)
		if ctx.Err() != nil {
			q.ring.Refuse(c)
			return ctx.Err()
		}
	}
	return nil
}

// Done gives a chain back with the bytes written to it.
func (q *Queue) Done(c *vring.Chain) {
	q.count.BytesOut += uint64(c.Written())
	q.ring.Push(c)
	if q.ring.Pending() >= batch {
		q.Flush()
	}
}

// Refuse gives a chain back with length 0 because of err, counts it, and logs the first.
func (q *Queue) Refuse(c *vring.Chain, err error) {
	q.badChain(&vring.ChainError{Queue: q.index, Head: int(c.Head()), Err: err})
	q.ring.Refuse(c)
	if q.ring.Pending() >= batch {
		q.Flush()
	}
}

// Flush publishes what was done and notifies the driver if it asked for it. The error, if
// any, comes again from the next call of Next.
func (q *Queue) Flush() error {
	notify, err := q.ring.Publish()
	if notify {
		q.count.Notified++
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
		if err := fn(&q.chain); err != nil {
			q.Refuse(&q.chain, err)
		} else {
			q.Done(&q.chain)
		}
	}
}

// lost turns the end of the session into the end of ctx; what stays is a lost queue.
func (q *Queue) lost(ctx context.Context, err error) error {
	if !errors.Is(err, vring.ErrShut) {
		return err
	}
	// The look that shut us out came before the transport's: it is on its way.
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-q.session.ctx.Done():
		return q.session.ctx.Err()
	}
}

// badChain counts a refused chain; the first one of the session is logged.
func (q *Queue) badChain(err error) {
	q.count.Refused++
	if !q.logged {
		q.logged = true
		q.session.log.Warn("request refused; further ones are only counted", "queue", q.index, "err", err)
	}
}
