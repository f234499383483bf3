package hvl2

import (
	"errors"
	"fmt"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

const statusBits = virtio.Acknowledge | virtio.Driver | virtio.DriverOK | virtio.FeaturesOK | virtio.NeedsReset | virtio.Failed

// resumable says why the state that was found cannot be gone on with, as far as the record
// tells; the rest is for replay.
func (s *Slot) resumable() error {
	switch {
	case s.resetFirst && s.status != 0:
		return errors.New("the monitor before was about to demand it")
	case s.load(RegStatus)&^uint32(statusBits) != 0:
		return fmt.Errorf("status %#x", s.load(RegStatus))
	case s.loadFeatures(recOffered).Without(s.dev.Offered()) != virtio.Features{}:
		return errors.New("features that were offered are not any more")
	case !live(s.status):
		return nil
	case !s.mayResume:
		return errors.New("only the monitor before knew what was in flight")
	case s.inflight != nil && (uint64(s.load(recInflightOff)) != s.place.InflightOff || uint64(s.load(recInflightLen)) != s.place.InflightSize):
		return errors.New("what was in flight was noted elsewhere")
	}
	return nil
}

// replay brings the device to where the record says, all but DRIVER_OK. Everything is checked as
// if a driver had just written it.
func (s *Slot) replay() error {
	if s.status&(virtio.NeedsReset|virtio.Failed) != 0 {
		s.halted = true
		return nil
	}
	if s.status&virtio.FeaturesOK != 0 {
		s.dev.SetDriverFeatures(s.driver)
	}
	if want := s.status &^ virtio.DriverOK; want != 0 && s.dev.SetStatus(want) != want {
		s.dev.End()
		return fmt.Errorf("status %v with features %v", s.status, s.driver)
	}
	for i := range s.queues {
		q := &s.queues[i]
		q.ready = q.ready && s.status&virtio.FeaturesOK != 0 // else left of a reset that was not completed
		if !q.ready {
			continue
		}
		c, err := s.whereItWas(i)
		if err == nil {
			err = s.dev.EnableQueue(s.space, c)
		}
		if err != nil {
			s.dev.End()
			return fmt.Errorf("queue %d: %w", i, err)
		}
		s.want(i, true)
	}
	return nil
}

// whereItWas is how queue i is to be gone on with: behind the last chain that was published, and
// what was taken and not published is done again.
func (s *Slot) whereItWas(i int) (vring.Config, error) {
	c, err := s.queueConfig(i)
	if err != nil {
		return c, err
	}
	if _, err := vring.New(s.space, c); err != nil {
		return c, err
	}
	used, err := s.space.Span(c.Used, c.UsedBytes())
	if err != nil {
		return c, err
	}
	c.Start = used.Load16(usedIdx)
	switch {
	case s.inflight == nil:
	case live(s.status):
		c.Redo = s.inflight[i].unfinished(c.Start, c.Size)
	default:
		// Nothing was taken yet. A predecessor that keeps no journal enabled the queue without
		// clearing what an older life left in it.
		s.clearInflight(i)
	}
	return c, nil
}

// usedIdx is the offset of the index in the device area (2.7.8).
const usedIdx = 2

// tellResumed counts the event that the predecessor may have owed.
func (s *Slot) tellResumed() {
	switch {
	case s.status&virtio.NeedsReset != 0:
		s.countConfig()
	case live(s.status):
		s.owe()
	}
}
