package hvl2

import (
	"fmt"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// selected is the queue that QueueSel names, nil if there is none.
func (s *Slot) selected() (i int, q *queue) {
	if uint64(s.queueSel) >= uint64(len(s.queues)) {
		return 0, nil
	}
	return int(s.queueSel), &s.queues[s.queueSel]
}

func queueRecord(i int) uint64 { return recQueues + queueStride*uint64(i) }

// writeGeometry takes the size or half an address of the selected queue. That of a ready queue
// is latched.
func (s *Slot) writeGeometry(reg, val uint32) Result {
	i, q := s.selected()
	if q == nil || q.ready {
		return s.refuse("queue geometry", "queue", s.queueSel)
	}
	half := func(addr *uint64, high uint32) {
		*addr = *addr&(0xffffffff<<(32*(1-high))) | uint64(val)<<(32*high)
	}
	rec := queueRecord(i)
	switch reg {
	case RegQueueSize:
		q.size = val
		s.store(rec+recSize, val)
	case RegQueueDescLow, RegQueueDescHigh:
		half(&q.desc, (reg-RegQueueDescLow)/4)
		s.store64(rec+recDesc, q.desc)
	case RegQueueDriverLow, RegQueueDriverHigh:
		half(&q.driver, (reg-RegQueueDriverLow)/4)
		s.store64(rec+recDriverArea, q.driver)
	default:
		half(&q.device, (reg-RegQueueDeviceLow)/4)
		s.store64(rec+recDeviceArea, q.device)
	}
	return Done
}

// writeReady enables the selected queue, or disables it: the driver's memory is its own again
// when that is acknowledged.
func (s *Slot) writeReady(val uint32) (Result, func() bool) {
	i, q := s.selected()
	switch {
	case q == nil || val > 1:
		return s.refuse("QueueReady", "queue", s.queueSel, "value", val), nil
	case val == 0:
		return Done, s.disable(i)
	case q.ready:
		return Done, nil
	}
	if err := s.enable(i); err != nil {
		return s.refuse("QueueReady", "queue", i, "err", err), nil
	}
	return Done, nil
}

// enable latches the geometry of a queue and, on a live device, starts it.
func (s *Slot) enable(i int) error {
	if s.status&virtio.FeaturesOK == 0 {
		return fmt.Errorf("features are not agreed on yet")
	}
	c, err := s.queueConfig(i)
	if err != nil {
		return err
	}
	s.clearInflight(i)
	// Asked before anything is stored: from the ready flag on a successor believes the record.
	if _, err := vring.New(s.space, c); err != nil {
		return err
	}
	s.setReady(i, true)
	if err := s.dev.EnableQueue(s.space, c); err != nil {
		s.setReady(i, false)
		return err
	}
	return nil
}

// queueConfig is how queue i is to be served from its beginning.
func (s *Slot) queueConfig(i int) (vring.Config, error) {
	q := s.queues[i]
	if !vring.ValidSize(q.size) || q.size > uint32(s.dev.MaxSize(i)) {
		return vring.Config{}, fmt.Errorf("size %d: must be a power of two up to %d", q.size, s.dev.MaxSize(i))
	}
	c := vring.Config{Layout: q.layout(), Index: i}
	if s.inflight != nil {
		c.Journal = &s.inflight[i]
	}
	return c, nil
}

// setReady stores a queue's ready flag, with which its notifications come and go.
func (s *Slot) setReady(i int, ready bool) {
	if !ready {
		s.want(i, false)
	}
	s.queues[i].ready = ready
	flags := uint32(0)
	if ready {
		flags = flagReady
		s.want(i, true)
	}
	s.store(queueRecord(i)+recFlags, flags)
}

// disable begins to take a queue back from the device; the result, if any, tells when it has
// let go.
func (s *Slot) disable(i int) (wait func() bool) {
	if !s.queues[i].ready {
		return nil
	}
	s.setReady(i, false)
	s.dev.DisableQueue(i)
	// A device that has just stopped takes no more part in this, but may not have let go yet.
	return func() bool { return s.dev.QueueReleased(i) && (s.dev.Live() || s.dev.Released()) }
}

// resetQueue returns the selected queue to what it was before the driver touched it (2.6.1).
func (s *Slot) resetQueue(val uint32) (Result, func() bool) {
	i, q := s.selected()
	if q == nil || val != 1 || s.status&virtio.FeaturesOK == 0 || !s.driver.Has(virtio.RingReset) {
		return s.refuse("QueueReset", "queue", s.queueSel, "value", val), nil
	}
	s.store(RegQueueReset, 1)
	wait := s.disable(i)
	return Done, func() bool {
		if wait != nil && !wait() {
			return false
		}
		s.forgetQueue(i)
		return true
	}
}

// forgetQueue returns the record of a queue to its reset values, the ready flag first.
func (s *Slot) forgetQueue(i int) {
	s.setReady(i, false)
	s.queues[i] = queue{}
	rec := queueRecord(i)
	s.store(rec+recSize, 0)
	s.store64(rec+recDesc, 0)
	s.store64(rec+recDriverArea, 0)
	s.store64(rec+recDeviceArea, 0)
}
