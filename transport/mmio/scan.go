package mmio

import (
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// scan looks at one device: first whether its driver restarted, then whether it asks for a
// queue, then what its queues have. It never waits and never returns early (R4'); again means
// that the registers moved under it.
func (s *slot) scan() (again bool) {
	pfn := s.load(RegQueuePFN) // first: what is read after it is at least as new
	s.bus.at(pointPFN, s)
	gps := s.load(RegGuestPageSize)
	s.bus.at(pointGPS, s)
	status := virtio.Status(s.load(RegStatus))
	s.bus.at(pointStatus, s)
	s.status.Store(uint32(status))

	if s.open && (gps != sentinel || status == 0 || s.live && status&virtio.DriverOK == 0) {
		s.bus.log.Info("front-end restarted", "device", s.name)
		s.bus.restarted(s)
	}
	if pfn != 0 && pfn != QueueAck {
		if again = s.answer(pfn, &status); again {
			return true
		}
	}
	if s.bus.clearing() {
		s.takeAck()
	}
	if s.dirty.Swap(false) {
		s.publishConfig()
		if s.bus.opts.ConfigInterrupt && s.live && s.raise(InterruptConfig) == nil {
			s.ring()
		}
	}
	if s.config != nil {
		s.takeConfig()
	}
	if s.open && status&virtio.DriverOK != 0 {
		if !s.live && s.complete() {
			s.golive()
		}
		s.dev.Kick()
	} else {
		s.stale = false
	}
	return false
}

// complete reports whether DRIVER_OK can be believed. A driver that never takes it back leaves
// it standing over a reboot: then it counts once all queues are there or one has been used.
func (s *slot) complete() bool {
	if !s.stale {
		return true
	}
	all := true
	for i, q := range s.queues {
		if !q.configured() {
			all = false
		} else if !s.fresh(i) {
			return true
		}
	}
	return all
}

// golive hands the configured queues to the device and starts it. A session that lingers is
// waited for: the device wakes the bus when it is over.
func (s *slot) golive() {
	if !s.bus.quiet(s) || s.dev.Broken() != nil {
		return
	}
	if s.suspect {
		s.presume()
	}
	features := virtio.Features{}.SetWord(0, s.load(RegDriverFeatures))
	if unknown := s.dev.SetDriverFeatures(features); unknown != (virtio.Features{}) {
		s.bus.log.Warn("driver acknowledged features that were not offered; ignored", "device", s.name, "features", unknown)
	}
	enabled := 0
	for i, r := range s.queues {
		if !r.configured() {
			continue
		}
		if r.resumed && !s.resume(&s.queues[i]) {
			s.bus.log.Warn("queue refused", "device", s.name, "queue", i, "err", vring.ErrAvailJump)
			continue
		}
		if err := s.dev.EnableQueue(s.bus.space, s.vring(i)); err != nil {
			s.bus.log.Warn("queue refused", "err", err)
			continue
		}
		enabled++
	}
	if enabled == 0 {
		return
	}
	s.live = true
	s.bus.log.Info("front-end is live", "device", s.name, "queues", enabled, "features", s.dev.Offered().And(features))
	s.dev.Start()
}

// presume fills in queues whose acknowledgement may have gone to a rebooted driver unseen: in
// plain-store mode the store can hit a request that nobody read. The driver is live now, so
// it believes every queue acknowledged; the same image lays them out as it did before.
func (s *slot) presume() {
	top := -1
	for i, r := range s.queues {
		if r.configured() {
			top = i
		}
	}
	for i := range top {
		if !s.queues[i].configured() && i < len(s.former) && s.former[i].configured() {
			s.queues[i] = s.former[i]
			s.queues[i].start = 0
			s.bus.log.Warn("queue taken over from the session before: its acknowledgement hit a restarting front-end", "device", s.name, "queue", i)
		}
	}
	s.suspect = false
}
