package mmio

import (
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// rescans bounds how often one scan looks again at a device whose registers moved under the
// look: a driver at work needs one, a hostile one gets no more than its share.
const rescans = 4

// scan looks at every device, and again at those whose registers moved under the look.
func (b *Bus) scan() (err error) {
	defer shmem.Recover(&err, shmem.Guard())
	b.busy = false
	b.clearing = b.opts.ClearIdle && b.liveSlots() > 1 // alone, the bit costs nothing
	for _, s := range b.slots {
		for n := 0; s.scan(); n++ {
			if n == rescans {
				s.Wake()
				break
			}
		}
	}
	for _, p := range b.pages {
		busy, err := p.Scan()
		if err != nil {
			return err
		}
		b.busy = b.busy || busy
	}
	return b.keepDirectory()
}

func (b *Bus) liveSlots() (n int) {
	for _, s := range b.slots {
		if s.live {
			n++
		}
	}
	return n
}

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
	if uint32(status) != s.status.Load() {
		s.status.Store(uint32(status))
		if status <= virtio.Acknowledge {
			s.refused = request{} // another boot may hear of it again
		}
	}

	if gps != sentinel {
		s.canary = true
	}
	if gps != sentinel || status == 0 {
		s.barred = false
	}
	if s.open && (gps != sentinel || status == 0 || s.live && (status&virtio.DriverOK == 0 || s.fell.Load())) {
		s.bus.restarted(s)
	}
	if s.doubted != nil {
		s.weigh(gps, status)
	}
	var v verdict
	if pfn != 0 && pfn != QueueAck && !s.barred {
		if v = s.answer(pfn, &status); v == lookAgain {
			return true
		}
	}
	if s.bus.clearing && s.doubted == nil {
		s.takeAck()
	}
	live := s.live
	if s.open && status&virtio.DriverOK != 0 {
		if !s.live && v != withheld && s.complete() {
			s.golive()
		}
		if s.dev.Kick() {
			s.bus.busy = true
		}
	} else {
		s.stale = false
	}
	s.syncConfig(live)
	return false
}
