package virtio

import (
	"fmt"
	"slices"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// EnableQueue latches the geometry of a queue (3.1.1, 4.2.2.2) and freezes the features:
// changes the driver makes later are not seen. EventIdx, Indirect and Gate of c are the
// device's to set. An error leaves the queue as it was. While a session runs, a queue can be
// enabled that is not, or not any more: disabled, and QueueReleased. Once a session was told to
// end, none can before it is Quiet.
func (d *Device) EnableQueue(space *shmem.Space, c vring.Config) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	limit := d.MaxSize(c.Index)
	switch {
	case limit == 0:
		return fmt.Errorf("%s: no queue %d", d.name, c.Index)
	case d.live() && !d.link(c.Index).gone():
		return fmt.Errorf("%s: queue %d is enabled already or still in use", d.name, c.Index)
	case !d.live() && !d.quiet():
		return fmt.Errorf("%s: queue %d cannot be enabled while a session ends", d.name, c.Index)
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
	l := &link{ring: ring, gate: c.Gate, resumed: c.Start != 0 || len(c.Redo) > 0}
	l.touched.Store(len(c.Redo) > 0) // they are as good as seen
	if d.live() {
		d.session.queues[c.Index].connect(l)
	} else {
		d.links[c.Index] = l
	}
	return nil
}

// DisableQueue takes a queue from the device (2.6.1, 4.2.2.2): no access to its memory begins
// any more, and what was taken and not returned is forgotten. The session, if one runs, goes
// on. It reports whether nothing touches that memory any more; if not, Wake is called until
// QueueReleased says so.
func (d *Device) DisableQueue(i int) (released bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.link(i)
	switch {
	case l == nil:
	case d.live():
		l.off = true
		l.gate.Shut()
		return l.gone()
	default:
		d.links[i] = nil
	}
	return true
}

// QueueReleased reports whether queue i is not enabled and nothing of the session that runs can
// touch its memory any more. Whether a session that was told to end can is Released's to say.
func (d *Device) QueueReleased(i int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.link(i).gone()
}

// Position is where a ring on the memory of queue i has to go on (vring.Config.Start) if the
// device is to lose and repeat nothing: of a queue that is not live, or disabled and
// QueueReleased. What a device that does not complete in order has taken is lost. ok is false
// when the queue is neither.
func (d *Device) Position(i int) (pos uint16, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.link(i)
	switch {
	case l == nil, d.live() && !l.gone():
		return 0, false
	case d.info.InOrder:
		return l.ring.Published(), true
	}
	return l.ring.Position(), true
}

// Enabled reports whether a queue is enabled. None is once the session was told to end.
func (d *Device) Enabled(i int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.link(i).enabled()
}

// link is queue i as enabled last: in the session that runs, or else for the one to come.
// Callers hold d.mu.
func (d *Device) link(i int) *link {
	switch {
	case i < 0 || i >= len(d.links):
		return nil
	case d.live():
		return d.session.queues[i].link.Load()
	}
	return d.links[i]
}

// frozen reports whether the driver's features can no longer change. Callers hold d.mu.
func (d *Device) frozen() bool {
	if d.status&FeaturesOK != 0 || d.live() {
		return true
	}
	// The rings were made for them.
	return slices.ContainsFunc(d.links, (*link).enabled)
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
		l := q.link.Load()
		if l == nil {
			continue
		}
		if !l.gate.TryHold() {
			d.release()
			return false
		}
		d.held = append(d.held, l.gate)
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
	l := d.link(i)
	return l == nil || !l.touched.Load()
}
