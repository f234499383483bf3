package hvl2

import (
	"github.com/hypervisorless/virtio/virtio"
)

// setStatus stores the status field, which is its own record.
func (s *Slot) setStatus(v virtio.Status) {
	s.status = v
	s.store(RegStatus, uint32(v))
	s.stats.status.Store(uint32(v))
}

// takeStatus stores what the device made of a write. That it has stopped is for report to tell,
// with an event.
func (s *Slot) takeStatus(v virtio.Status) {
	s.setStatus(v&^virtio.NeedsReset | s.status&virtio.NeedsReset)
}

// writeStatus takes a status that is not 0 (2.1, 3.1.1). What the field reads afterwards is the
// answer; refused is a write that would clear a bit, which only a reset does.
func (s *Slot) writeStatus(val uint32) Result {
	v := virtio.Status(val) &^ virtio.NeedsReset
	if s.status&(virtio.NeedsReset|virtio.Failed) != 0 {
		if v&virtio.Failed == 0 {
			return Broken
		}
		if !s.halted {
			s.dev.SetStatus(v)
		}
		s.setStatus(s.status | virtio.Failed)
		return Done
	}
	if s.status&^v != 0 && v&virtio.Failed == 0 || v == 0 {
		return s.refuse("status", "from", s.status, "to", v)
	}
	added := v &^ s.status
	if added&virtio.FeaturesOK != 0 {
		s.dev.SetDriverFeatures(s.driver)
	}
	if added&virtio.DriverOK != 0 && added&virtio.Failed == 0 {
		// The device runs from within SetStatus on, so the record has to say so before.
		s.takeStatus(s.dev.SetStatus(v &^ virtio.DriverOK))
		if s.status&virtio.FeaturesOK == 0 {
			return Done
		}
		s.setStatus(s.status | virtio.DriverOK)
		s.log.Info("driver is live", "features", s.driver)
	}
	s.takeStatus(s.dev.SetStatus(v))
	return Done
}

// writeFeatures takes one word of the driver's features, up to FEATURES_OK (3.1.1).
func (s *Slot) writeFeatures(val uint32) Result {
	if s.status&virtio.FeaturesOK != 0 || s.drvFeatSel >= virtio.FeatureBits/32 {
		return Refused
	}
	s.driver = s.driver.SetWord(s.drvFeatSel, val)
	s.store(recDriver+4*uint64(s.drvFeatSel), val)
	return Done
}

// finishReset completes a reset once the device has let go: no thread of it, no system call
// touches the driver's memory any more, and no event will be raised.
func (s *Slot) finishReset() (done bool) {
	if !s.dev.FinishReset() {
		return false
	}
	if s.status&virtio.DriverOK != 0 {
		s.stats.resets.Add(1)
		s.log.Info("driver reset the device")
	}
	s.halted = false
	s.setStatus(0)
	s.clearRecord()
	s.setState(false)
	// What the old life had to tell is told by what the new one reads.
	s.dirty.Store(false)
	s.refreshConfig()
	return true
}
