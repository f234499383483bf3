package driver

import (
	"context"
	"fmt"
	"time"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
)

// lookAgain is how long a wait for the back-end's registers trusts the doorbell: whoever
// publishes a window need not ring.
const lookAgain = 10 * time.Millisecond

// listen waits for one ring and looks at everything. The caller holds the pump.
func (w *Window) listen() error {
	if err := w.failed(); err != nil {
		return err // nobody will ring
	}
	return w.rang(w.opts.Line.Wait())
}

// rang is what follows a wait on the doorbell that ended with err.
func (w *Window) rang(err error) error {
	if err == nil {
		err = w.interrupt()
	}
	if err != nil {
		w.fail(err)
	}
	return err
}

// interrupt does what the deployed front-ends do at every ring: for each device the status is
// read, callbacks run if buffers were used, and what was read is stored as acknowledged,
// whatever it was; the back-end is rung if it was not zero.
func (w *Window) interrupt() (err error) {
	if w.guard {
		defer shmem.Recover(&err, shmem.Guard())
	}
	w.mu.Lock()
	booted, closed := w.booted, w.err
	if w.waiting > 0 {
		w.waiting = 0
		close(w.rung)
		w.rung = make(chan struct{})
	}
	w.mu.Unlock()
	if closed != nil {
		return closed
	}
	for _, d := range booted {
		if d.page != nil {
			if d.serveEvents() && w.busy != nil {
				w.busy()
			}
			continue
		}
		status := d.load(mmio.RegInterruptStatus)
		found := false
		if status&mmio.InterruptUsed != 0 {
			for _, q := range d.queues() {
				found = q.poll() || found
			}
		}
		if status&mmio.InterruptConfig != 0 {
			found = d.configChanged() || found
		}
		if w.busy != nil {
			if !found {
				continue // no ring made us look, so there is nothing to answer
			}
			w.busy()
		}
		d.store(mmio.RegInterruptACK, status)
		if status != 0 {
			if err := w.opts.Line.Raise(); err != nil {
				return err
			}
		}
	}
	return nil
}

// configChanged tells the driver once a generation: the interrupt bit may stay set.
func (d *Device) configChanged() bool {
	now := d.load(mmio.RegConfigGeneration)
	if now == d.generation || now&1 != 0 {
		return false
	}
	d.generation = now
	if l := d.life.Load(); l.changed != nil {
		l.changed()
	}
	return true
}

// await waits until done, looking again at every ring and from time to time. When ctx ends first
// the error says what the last look missed.
func (w *Window) await(ctx context.Context, done func() (bool, error)) error {
	var why error
	look := func() (ok bool, err error) {
		err = w.guarded(func() error {
			ok, why = done()
			return nil
		})
		return ok, err
	}
	defer context.AfterFunc(ctx, w.opts.Line.Wake)()
	for {
		rung := w.nextRing()
		if ok, err := look(); ok || err != nil {
			return err
		}
		if err := w.failed(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			if why != nil {
				return fmt.Errorf("%w: %w", context.Cause(ctx), why)
			}
			return context.Cause(ctx)
		}
		select {
		case w.pump <- struct{}{}:
			tick := time.AfterFunc(lookAgain, w.opts.Line.Wake)
			err := w.listen()
			tick.Stop()
			<-w.pump
			if err != nil {
				return err
			}
		case <-rung:
		case <-time.After(lookAgain):
		case <-ctx.Done():
		}
	}
}

// nextRing is closed at the next interrupt.
func (w *Window) nextRing() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting++
	return w.rung
}

func (w *Window) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// failLater is fail for those who must not run into callbacks.
func (w *Window) failLater(err error) { go w.fail(err) }

// fail ends the Window for good: every request that is in flight fails, and every later one.
func (w *Window) fail(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	booted := w.booted
	w.mu.Unlock()
	for _, d := range booted {
		for _, q := range d.queues() {
			q.fail(err)
		}
	}
}
