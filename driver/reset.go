package driver

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
	"github.com/hypervisorless/virtio/virtio"
)

// endLife fails what is in flight before a reset.
func (d *Device) endLife() {
	if l := d.life.Load(); l != nil {
		for _, q := range l.queues {
			q.fail(ErrReset)
		}
	}
}

// Reset resets a device of hvl-v2 and returns when it has let go of all memory: requests in
// flight fail with ErrReset, their memory is used again. Not from Request.Done. After an error
// the device may still write to the memory of those requests, which stays out of use until a
// later Reset or Start succeeds.
func (d *Device) Reset(ctx context.Context) error {
	return d.control("reset", func() error {
		d.endLife()
		if err := d.page.drain(ctx); err != nil {
			return err
		}
		return d.page.reset(ctx)
	})
}

// control does one thing to the registers.
func (d *Device) control(what string, do func() error) error {
	if d.page == nil {
		return fmt.Errorf("driver: %v: %s: %w", d, what, errors.ErrUnsupported)
	}
	d.page.mu.Lock()
	defer d.page.mu.Unlock()
	if err := d.w.guarded(func() error { return d.page.verdict(do()) }); err != nil {
		return fmt.Errorf("driver: %v: %s: %w", d, what, err)
	}
	return nil
}

// Reset resets this queue alone (2.6.1), where RING_RESET was negotiated, and sets it up anew with
// a ring of the given size, 0 for the default. Requests in flight fail with ErrReset; their memory
// is used again when Reset returns nil. Not from Request.Done. After an error the queue is of no
// use before the device is started again.
func (q *Queue) Reset(ctx context.Context, size uint16) error {
	return q.d.control(fmt.Sprintf("reset of queue %d", q.index), func() error {
		if !q.d.Negotiated().Has(virtio.RingReset) {
			return errors.ErrUnsupported
		}
		q.fail(ErrReset)
		p := q.d.page
		if err := p.write(ctx, hvl2.RegQueueSel, uint32(q.index)); err != nil {
			return err
		}
		if err := p.write(ctx, hvl2.RegQueueReset, 1); err != nil {
			return err
		}
		if reset, ready := p.load(hvl2.RegQueueReset), p.load(hvl2.RegQueueReady); reset != 0 || ready != 0 {
			return fmt.Errorf("%w: QueueReset reads %d, QueueReady %d", ErrRefused, reset, ready)
		}
		q.reclaim()
		return q.revive(ctx, size)
	})
}

// revive gives a queue that was reset a new ring.
func (q *Queue) revive(ctx context.Context, size uint16) error {
	p := q.d.page
	ring, mem, err := q.d.newPageRing(q.index, size, q.d.Negotiated())
	if err != nil {
		return err
	}
	ring.Disarm()
	for !q.settled() {
		q.poll()
		runtime.Gosched() // somebody else is delivering the failed requests
	}
	q.mu.Lock()
	q.mem, q.ring, q.flight, q.sleepers = mem, ring, make([]*Request, ring.Size()), 0
	q.mu.Unlock()
	if err := p.write(ctx, hvl2.RegQueueSize, uint32(ring.Size())); err != nil {
		return err
	}
	for _, area := range queueAreas {
		addr := area.of(ringLayout(mem.Addr, ring.size))
		if err := p.write(ctx, area.reg, uint32(addr)); err != nil {
			return err
		}
		if err := p.write(ctx, area.reg+4, uint32(addr>>32)); err != nil {
			return err
		}
	}
	if err := p.write(ctx, hvl2.RegQueueReady, 1); err != nil {
		return err
	}
	if err := q.enabled(); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == ErrReset { // and nothing worse
		q.err = nil
	}
	return q.err
}

// settled: every request that was in flight has failed.
func (q *Queue) settled() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.flight {
		if r != nil {
			return false
		}
	}
	return q.polls.Load() == 0
}

// reclaim frees what the device has let go of: the ring, and the memory of what was in flight.
func (q *Queue) reclaim() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.flight {
		if r != nil {
			q.lend(r)
		}
	}
	for _, b := range q.lent {
		b.Free()
	}
	q.lent = nil
	q.mem.Free()
	q.mem = Buffer{}
}
