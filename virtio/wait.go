package virtio

import (
	"context"
	"runtime"
	"time"
)

// wait returns when the available index has moved, or with the error of ctx, the session, or
// the lost queue.
func (q *Queue) wait(ctx context.Context) error {
	if q.spin > 0 && q.streak > 0 && q.spins() {
		return nil
	}
	q.streak = 0
	// Asleep first, then the look: whoever moves the index after it finds a sleeper.
	q.asleep.Store(sleeping | uint32(q.next))
	defer q.asleep.Store(0)
	pending, err := q.ring.Arm()
	if err != nil || pending {
		return err
	}
	q.count.Waits++
	q.shared.store(&q.count)
	select {
	case <-q.kick:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-q.session.ctx.Done():
		return q.session.ctx.Err()
	}
}

// spins watches the index for a while and reports whether there is something to take. A jump
// that no driver may make is for the look after it.
func (q *Queue) spins() bool {
	until := time.Now().Add(q.spin)
	for {
		for range 64 {
			idx, err := q.ring.Available()
			if n := int(idx - q.next); err != nil || n > 0 && n <= q.Size() {
				return true // the next Pop tells an error
			}
		}
		if !time.Now().Before(until) {
			return false
		}
		runtime.Gosched()
	}
}

// look wakes the owner if it sleeps and the index has moved, and reports whether it did. Called
// by the transport.
func (q *Queue) look() (woke bool) {
	state := q.asleep.Load()
	if state&sleeping == 0 {
		return false // it looks itself before it sleeps
	}
	if idx, err := q.link.Load().ring.Available(); err == nil && idx == uint16(state) {
		return false
	}
	return q.wake()
}

// wake has the owner look again, and reports whether it had not been told to already.
func (q *Queue) wake() bool {
	select {
	case q.kick <- struct{}{}:
		return true
	default:
		return false
	}
}
