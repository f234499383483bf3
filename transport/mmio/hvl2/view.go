package hvl2

import "github.com/hypervisorless/virtio/virtio"

// refreshView stores the registers that show what the Sel registers select.
func (s *Slot) refreshView() {
	s.store(RegDeviceFeatures, s.dev.Offered().Word(s.devFeatSel))
	var most, ready uint32
	if i, q := s.selected(); q != nil {
		most = uint32(s.dev.MaxSize(i))
		if q.ready {
			ready = 1
		}
	}
	s.store(RegQueueSizeMax, most)
	s.store(RegQueueReady, ready)
	s.store(RegQueueReset, 0)
}

// fixed stores the words that never change while the page has its magic.
func (s *Slot) fixed() {
	info := s.dev.Info()
	s.store(RegVersion, s.opts.Version)
	s.store(RegDeviceID, uint32(info.ID))
	s.store(RegVendorID, VendorID)
	for _, reg := range []uint64{RegSHMLenLow, RegSHMLenHigh, RegSHMBaseLow, RegSHMBaseHigh} {
		s.store(reg, noRegion) // whatever is selected: no device here has such a region
	}
	s.store(OffIdent, Ident)
	s.store(OffPageVersion, Version)
	s.store64(OffAddrBase, s.place.AddrBase)
	s.store64(OffMemOff, s.place.MemOff)
	s.store64(OffMemSize, s.place.MemSize)
	s.store64(OffSlotOff, s.place.SlotOff)
	s.store(OffConfigSize, uint32(info.ConfigLen))
	s.store(OffQueueCount, uint32(len(s.queues)))
	s.store(OffRequired, 0)
	s.store(OffOptional, 0)
	s.store(recVersion, recordVersion)
	// Only words that are kept are worth anything to a successor.
	var off, size uint64
	if s.inflight != nil {
		off, size = s.place.InflightOff, s.place.InflightSize
	}
	s.store(recInflightOff, uint32(off))
	s.store(recInflightLen, uint32(size))
}

const noRegion = ^uint32(0)

// live reports whether the status is that of a device which serves its driver.
func live(v virtio.Status) bool {
	return v&(virtio.DriverOK|virtio.NeedsReset|virtio.Failed) == virtio.DriverOK
}
