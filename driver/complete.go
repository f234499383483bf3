package driver

import "github.com/hypervisorless/virtio/shmem"

// poll takes what the device has used and delivers it. One goroutine does so at a time, in
// order; a call that finds another at it has it look again. found says that this one delivered
// something.
func (q *Queue) poll() (found bool) {
	return q.polls.Add(1) == 1 && q.serve()
}

// glance is poll for those who come back: while another is at it they need not be heard.
func (q *Queue) glance() {
	if q.polls.CompareAndSwap(0, 1) {
		q.serve()
	}
}

// serve is the turn of the goroutine that found nobody at it.
func (q *Queue) serve() (found bool) {
	for calls := int32(1); ; calls = q.polls.Load() {
		for more := true; more; {
			var n int
			n, more = q.turn()
			found = found || n > 0
		}
		if q.polls.CompareAndSwap(calls, 0) {
			return found
		}
	}
}

// turn takes up to a batch of completions and delivers them without the lock, so that they may
// submit again.
func (q *Queue) turn() (n int, more bool) {
	q.mu.Lock()
	n, more = q.collect()
	q.mu.Unlock()
	for i, r := range q.batch[:n] {
		q.batch[i] = nil
		if r.Done != nil {
			r.state.Store(idle)
			r.Done(r)
		} else {
			r.wake(q.w.opts.Line)
		}
	}
	return n, more
}

// collect fills the batch. The lock is held.
func (q *Queue) collect() (n int, more bool) {
	if q.err == nil && q.acked {
		var taken int
		if taken, n, more = q.take(); q.err == nil {
			q.admit(taken)
			return n, more
		}
	}
	if q.err != nil {
		n, more = q.failAll(n)
		q.admit(len(q.line))
	}
	return n, more
}

// take takes used chains off the ring; n of them have somebody who waits.
func (q *Queue) take() (taken, n int, more bool) {
	var err error
	if q.w.guard {
		defer q.leave(shmem.Guard(), &err)
	}
	for n < batchSize {
		head, length, ok, err := q.ring.Get()
		if !ok {
			if err != nil {
				q.err = err
				return taken, n, true
			}
			break
		}
		taken++
		r := q.flight[head]
		if err == nil {
			r.N = int(length)
			if r.in.Len() > 0 && !r.abandoned {
				r.in.span.ReadAt(r.In[:length], 0)
			}
		}
		q.flight[head] = nil
		r.drop()
		if n += q.finish(r, err, n); n == batchSize {
			return taken, n, true
		}
	}
	if taken > 0 && q.ring.eventIdx && q.sleepers > 0 {
		more = q.ring.Arm() // the index at which to interrupt has been passed
	}
	return taken, n, more
}

// finish ends a request's flight and puts it into the batch at n, unless nobody waits for it.
func (q *Queue) finish(r *Request, err error, n int) int {
	if err != nil {
		r.Err = q.named(err)
	}
	r.flying = false
	if !r.watched {
		if q.sleepers--; q.sleepers == 0 {
			q.ring.Disarm()
		}
	}
	if r.abandoned {
		r.abandoned = false
		r.state.Store(idle)
		q.spare = append(q.spare, r)
		return 0
	}
	q.batch[n] = r
	return 1
}

// failAll ends what is in flight on a queue that has ended. Their memory is not used again: the
// device may still write there, until it is reset.
func (q *Queue) failAll(n int) (int, bool) {
	for head, r := range q.flight {
		if r == nil {
			continue
		}
		if n == batchSize {
			return n, true
		}
		q.flight[head] = nil
		q.lend(r)
		n += q.finish(r, q.err, n)
	}
	return n, false
}

// lend keeps the memory of a request that the device may still use.
func (q *Queue) lend(r *Request) {
	if q.d.page != nil {
		q.lent = append(q.lent, r.out, r.in)
	}
	r.out, r.in = Buffer{}, Buffer{}
}

// admit lets the next n of those that wait for room try.
func (q *Queue) admit(n int) {
	n = min(n, len(q.line))
	for _, r := range q.line[:n] {
		r.wake(q.w.opts.Line)
	}
	q.line = q.line[:copy(q.line, q.line[n:])]
}

// fail ends the queue.
func (q *Queue) fail(err error) {
	q.mu.Lock()
	if q.err == nil {
		q.err = err
	}
	q.mu.Unlock()
	q.poll()
}
