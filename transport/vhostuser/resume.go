package vhostuser

import (
	"fmt"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// takeUp sets where a ring goes on, and with what: heads that were taken and never given back are
// done again.
func (c *conn) takeUp(i int, config *vring.Config) (err error) {
	r := &c.rings[i]
	config.Start = r.base
	if err := c.keep(i); err != nil || r.journal == nil {
		return err
	}
	defer shmem.Recover(&err, shmem.Guard())
	used, err := c.used(r, config)
	if err != nil {
		return err
	}
	redo, err := r.journal.resume(used)
	if err != nil {
		return fmt.Errorf("in flight: %w", err)
	}
	config.Journal = r.journal
	n := uint16(len(redo))
	// A front-end that outlived a back-end cannot know where that was: some say the used index,
	// some the available one. Its record does, and the reference back-end goes by that alone.
	if r.base == used+n || r.journal.shared {
		config.Start, config.Redo = used, redo
		return nil
	}
	if n > 0 {
		c.s.log.Warn("what was in flight does not fit where the queue begins, and is forgotten",
			"queue", i, "begins", r.base, "used", used, "in flight", n)
	}
	r.journal.renew(r.base)
	return nil
}

// used is the used index that the driver sees, or that it last saw of a queue whose record
// nobody else could see.
func (c *conn) used(r *ring, config *vring.Config) (uint16, error) {
	if !r.journal.shared {
		return r.journal.used, nil
	}
	span, err := c.mem.space.Span(config.Layout.Used, 4)
	if err != nil {
		return 0, err
	}
	if !span.Aligned(4) {
		return 0, vring.ErrAlign
	}
	return span.Load16(2), nil
}

// keep gives a ring a journal: in the front-end's area if there is one; of our own for a device
// that can do again what it has taken, so that a queue that is stopped goes on later; or none.
func (c *conn) keep(i int) error {
	r := &c.rings[i]
	size := uint16(r.size)
	if r.journal != nil && len(r.journal.next) == int(size) {
		return nil
	}
	r.journal = nil
	if c.area.mapped != nil {
		if size > c.area.entries {
			return fmt.Errorf("the in-flight area is for queues of size %d, not %d", c.area.entries, size)
		}
		record, err := c.area.record(i)
		if err != nil {
			return err
		}
		r.journal = newJournal(record, size, true)
		return nil
	}
	if info := c.s.dev.Info(); info.Redo && !info.InOrder {
		record, err := shmem.NewHeap(int(stride(size))).Span(0, stride(size))
		if err != nil {
			return err
		}
		r.journal = newJournal(record, size, false)
		r.journal.renew(r.base)
	}
	return nil
}
