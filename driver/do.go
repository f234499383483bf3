package driver

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"time"
)

// Do sends out to the device, waits for the answer and copies it to in; n is how many bytes the
// device wrote. Either may be empty, not both. When the queue is full it waits for room. When
// ctx ends first the device may still act on the request, but in stays untouched from then on.
//
// It allocates nothing once the queue has been as full as it gets, provided that ctx cannot end
// or Run serves the doorbell.
func (q *Queue) Do(ctx context.Context, out, in []byte) (n int, err error) {
	r := q.borrow()
	r.Out, r.In = out, in
	if err := q.enter(ctx, r); err != nil {
		q.giveBack(r)
		return 0, q.named(err)
	}
	if !r.watched || !q.watch(ctx, r) {
		if err := q.w.wait(ctx, &r.waiter); err != nil && q.abandon(r) {
			return 0, q.named(err)
		}
	}
	n, err = r.N, r.Err
	q.giveBack(r)
	return n, err
}

func (q *Queue) borrow() *Request {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.spare); n > 0 {
		r := q.spare[n-1]
		q.spare = q.spare[:n-1]
		return r
	}
	return new(Request)
}

func (q *Queue) giveBack(r *Request) {
	r.Out, r.In = nil, nil
	r.state.Store(idle)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.spare = append(q.spare, r)
}

// enter submits the request, waiting for room as long as ctx allows.
func (q *Queue) enter(ctx context.Context, r *Request) error {
	for {
		kick, full, err := q.tryEnter(r)
		if !full {
			if kick {
				q.kick()
			}
			return err
		}
		if err := q.w.wait(ctx, &r.waiter); err != nil {
			q.leaveLine(r)
			return err
		}
	}
}

// tryEnter submits the request or puts it in line. Memory is room too, as long as something in
// flight will free some.
func (q *Queue) tryEnter(r *Request) (kick, full bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, kick, err = q.add([]*Request{r}, q.w.opts.Spin > 0)
	full = errors.Is(err, ErrFull) || errors.Is(err, ErrNoMemory) && q.ring.Outstanding() > 0
	switch {
	case full:
		r.reset()
		q.line = append(q.line, r)
	case q.ring.Room() > 0:
		q.admit(1) // room for another may have come with one completion
	}
	return kick, full, err
}

// leaveLine takes a request that will not enter out of the line; its turn, if that came, goes to
// the next.
func (q *Queue) leaveLine(r *Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.line, r); i >= 0 {
		q.line = slices.Delete(q.line, i, i+1)
		return
	}
	<-r.ready
	q.admit(1)
}

// watchLooks is how many looks at the ring there are between two looks at the clock.
const watchLooks = 64

// watch looks at the ring for a while, instead of sleeping until an interrupt; it reports
// whether the request completed meanwhile. If not, the interrupt is asked for.
func (q *Queue) watch(ctx context.Context, r *Request) bool {
	end := time.Now().Add(q.w.opts.Spin)
	for i := 1; ; i++ {
		q.glance()
		if r.state.Load() == finished {
			<-r.ready
			return true
		}
		if i%watchLooks == 0 {
			if ctx.Err() != nil || !time.Now().Before(end) {
				break
			}
			runtime.Gosched() // the device may be a goroutine that needs this processor
		}
	}
	q.mu.Lock()
	pending := false
	if r.flying && q.err == nil {
		r.watched = false
		q.sleeps()
		pending = q.ring.Arm()
	}
	q.mu.Unlock()
	if pending {
		q.poll()
	}
	return false
}

// abandon leaves a request that is still in flight to its completion; it reports whether it is.
func (q *Queue) abandon(r *Request) bool {
	q.mu.Lock()
	if r.flying {
		r.In, r.abandoned = nil, true
		q.mu.Unlock()
		return true
	}
	q.mu.Unlock()
	<-r.ready
	return false
}
