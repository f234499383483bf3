package hvl2

import (
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// Start makes the page ready for a driver. A page that a predecessor left is gone on with where
// that is sound: the driver then notices nothing but a wait. Where it is not, the driver is told
// to reset first, and nothing else that it writes is taken. An unknown page is formatted.
//
// Before Start the integrator makes sure that the predecessor is gone, with its mappings. After
// it, ring the driver and Scan: doorbells in either direction may have been lost. Start may be
// called again once the slot is stopped and Quiet, as when a window that vanished is back. The
// error is a *shmem.FaultError.
func (s *Slot) Start() (err error) {
	defer shmem.Recover(&err, shmem.Guard())
	s.pending, s.halted = nil, false
	if s.ours() {
		s.takeOver()
	} else {
		s.format()
	}
	return nil
}

// ours reports whether the page is one of this device at this place.
func (s *Slot) ours() bool {
	same := func(off, v uint64) bool { return s.load64(off) == v }
	return s.load(RegMagic) == Magic && s.load(OffIdent) == Ident && s.load(OffPageVersion) == Version &&
		s.load(recVersion) == recordVersion && s.load(OffEpoch) != 0 &&
		s.load(RegDeviceID) == uint32(s.dev.Info().ID) && s.load(OffQueueCount) == uint32(len(s.queues)) &&
		same(OffAddrBase, s.place.AddrBase) && same(OffMemOff, s.place.MemOff) && same(OffMemSize, s.place.MemSize)
}

// format makes the page anew. The number of the last transaction and the driver's words stay as
// they are: a driver may be waiting.
func (s *Slot) format() {
	s.store(RegMagic, 0)
	s.recall()
	for reg := uint64(RegVersion); reg < OffIdent; reg += 4 {
		if reg != RegConfigGeneration { // it never goes back
			s.store(reg, 0)
		}
	}
	s.status = 0
	s.demandReset()
	s.setEvents(s.load(OffUsedSeen), s.load(OffConfigSeen))
	s.result = Done
	s.store(OffTxnResult, uint32(s.result))
	s.finishStart()
	s.store(RegMagic, Magic)
}

// takeOver goes on where a predecessor was, or has the driver reset the device.
func (s *Slot) takeOver() {
	s.recall()
	why := s.resumable()
	if why == nil {
		why = s.replay()
	}
	if why != nil {
		s.log.Warn("the driver has to reset the device: what it agreed on with the monitor before is lost", "why", why)
		s.demandReset()
	} else {
		s.tellResumed()
	}
	s.finishStart()
	if live(s.status) {
		s.log.Info("goes on with a live driver", "features", s.driver)
		s.dev.SetStatus(s.status)
	}
}

// demandReset is a device without the state it had. The state word comes first: a successor that
// finds it beside a status does all of this again.
func (s *Slot) demandReset() {
	s.setState(true)
	if s.epoch++; s.epoch == 0 {
		s.epoch++
	}
	s.store(OffEpoch, s.epoch)
	s.clearRecord()
	if s.status == 0 {
		s.setStatus(0) // whatever stood there
		return
	}
	s.halted = true
	s.setStatus(s.status | virtio.NeedsReset)
	s.countConfig()
}

// finishStart stores what every start does, whatever was found.
func (s *Slot) finishStart() {
	s.fixed()
	s.storeFeatures(recOffered, s.dev.Offered())
	s.dirty.Store(false)
	s.publishConfig()
	s.refreshView()
	s.starts++
	s.store(OffStarts, s.starts)
	s.stepBeat()
}

// wiped reports whether the page was cleared, as by boot code that clears a whole window. A
// driver's scribbling on it is none of our business.
func (s *Slot) wiped() bool { return s.load(RegMagic) == 0 && s.load(OffIdent) == 0 }

// reformat is for a page that was wiped under us.
func (s *Slot) reformat() {
	s.log.Warn("the slot page was cleared; it is formatted again")
	s.dev.End()
	s.halted = false
	s.format()
	s.opts.Ring()
}
