package virtio

import (
	"fmt"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// EnableQueue latches the geometry of a queue (3.1.1, 4.2.2.2) and freezes the features:
// changes the driver makes later are not seen. EventIdx, Indirect and Gate of c are the
// device's to set. An error leaves the queue as it was. No queue can be enabled before the
// session before is Quiet.
func (d *Device) EnableQueue(space *shmem.Space, c vring.Config) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	limit := d.MaxSize(c.Index)
	switch {
	case limit == 0:
		return fmt.Errorf("%s: no queue %d", d.name, c.Index)
	case !d.quiet():
		return fmt.Errorf("%s: queue %d cannot be enabled while a session lasts", d.name, c.Index)
	case c.Size > limit:
		return fmt.Errorf("%s: queue %d: size %d is more than the maximum of %d", d.name, c.Index, c.Size, limit)
	}
	features := d.negotiated()
	c.EventIdx = features.Has(EventIdx)
	c.Indirect = features.Has(IndirectDesc)
	c.Gate = vring.NewGate(d.opts.Standing, d.transport.Wake)
	ring, err := vring.New(space, c)
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	d.queues[c.Index] = newQueue(ring, c, d.opts.Spin)
	return nil
}

// DisableQueue forgets a queue that is enabled but not live yet.
func (d *Device) DisableQueue(i int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i >= 0 && i < len(d.queues) {
		d.queues[i] = nil
	}
}

// Enabled reports whether a queue is enabled. None is once the session was told to end.
func (d *Device) Enabled(i int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queue(i) != nil
}

// queue is queue i of the session that runs, or else of the one to come. Callers hold d.mu.
func (d *Device) queue(i int) *Queue {
	queues := d.queues
	if d.live() {
		queues = d.session.queues
	}
	if i < 0 || i >= len(queues) {
		return nil
	}
	return queues[i]
}

// frozen reports whether the driver's features can no longer change. Callers hold d.mu.
func (d *Device) frozen() bool {
	if d.status&FeaturesOK != 0 || d.live() {
		return true
	}
	for _, q := range d.queues {
		if q != nil {
			return true // its ring was made for them
		}
	}
	return false
}

// TryHold keeps accesses to the memory of all queues waiting until Release, and reports
// whether it could: not while one is under way. A hold is for a few instructions, and its
// holder makes no other call but Untouched, End and Release.
func (d *Device) TryHold() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session == nil {
		return true
	}
	for _, q := range d.session.queues {
		if q == nil {
			continue
		}
		if !q.gate.TryHold() {
			d.release()
			return false
		}
		d.held = append(d.held, q.gate)
	}
	return true
}

// Release ends a TryHold that said yes.
func (d *Device) Release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.release()
}

func (d *Device) release() {
	for _, g := range d.held {
		g.Release()
	}
	d.held = d.held[:0]
}

// Untouched reports whether nothing was ever seen available on queue i in the session that
// runs. It stays so until Release if the device is held.
func (d *Device) Untouched(i int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.queue(i)
	return q == nil || !q.touched.Load()
}
