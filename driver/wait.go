package driver

import (
	"context"
	"sync/atomic"

	"github.com/hypervisorless/virtio/notify"
)

// waiter is one goroutine that waits for one event, by itself at the doorbell or behind whoever
// is there. One wake belongs to each reset.
type waiter struct {
	state atomic.Uint32
	ready chan struct{} // holds a token when the event came while it was not at the doorbell
}

// States of a waiter.
const (
	idle     = iota // nothing to wait for; what was, has been taken note of
	waiting         // behind somebody else, or not yet anywhere
	pumping         // at the doorbell, where only a ring wakes it
	finished        // the event came
)

func (t *waiter) reset() {
	if t.ready == nil {
		t.ready = make(chan struct{}, 1)
	}
	t.state.Store(waiting)
}

// wake is the event. The waiter may be somebody else's when it returns.
func (t *waiter) wake(line notify.Line) {
	ready := t.ready
	if t.state.Swap(finished) == pumping {
		line.Wake()
	} else {
		ready <- struct{}{}
	}
}

// wait returns nil after the event, and ctx's error if that came first: then the event is still
// to come.
func (w *Window) wait(ctx context.Context, t *waiter) error {
	for ctx.Err() == nil {
		select {
		case <-t.ready:
			t.state.Store(idle)
			return nil
		case <-ctx.Done():
		case w.pump <- struct{}{}:
			came := w.pumpFor(ctx, t)
			<-w.pump
			if came {
				t.state.Store(idle)
				return nil
			}
		}
	}
	return ctx.Err()
}

// pumpFor serves one ring for everybody, and reports whether the waiter's event came meanwhile
// and was taken. The caller holds the pump.
func (w *Window) pumpFor(ctx context.Context, t *waiter) bool {
	if !t.state.CompareAndSwap(waiting, pumping) {
		<-t.ready
		return true
	}
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, w.opts.Line.Wake)
	}
	err := w.opts.Line.Wait()
	stop()
	// Not at the doorbell any more, before the interrupt: its own event needs no ring then.
	came := !t.state.CompareAndSwap(pumping, waiting)
	_ = w.rang(err) // an error has reached every request
	return came
}
