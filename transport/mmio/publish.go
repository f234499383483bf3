package mmio

import (
	"fmt"

	"github.com/hypervisorless/virtio/shmem"
)

// publish makes the devices visible, magic last. Words of the driver are left alone in a
// window that was published before: it may be waiting for us.
func (b *Bus) publish() (err error) {
	defer shmem.Recover(&err, shmem.Guard())
	all, err := b.space.Span(b.opts.Addr, b.opts.Region.Size())
	if err != nil {
		return err
	}
	if b.opts.Wipe {
		all.Zero(0, all.Len())
	}
	if b.place.Layout == Tree {
		tree := b.place.FDT()
		if len(tree) > treeSize {
			return fmt.Errorf("device tree of %d bytes does not fit %d", len(tree), treeSize)
		}
		all.WriteAt(tree, 0)
	}
	for _, s := range b.slots {
		s.publish()
	}
	if b.place.Layout == Table {
		// A header behind the last device would be taken for one of ours.
		for i := len(b.slots); i < tableSlots; i++ {
			all.Zero(uint64(i)*HeaderSize, HeaderSize)
		}
	}
	for _, s := range b.slots {
		s.store(RegMagic, Magic)
	}
	return nil
}

// publish writes one header, all but the magic, and takes up the session in it if there is one.
func (s *slot) publish() {
	known := s.load(RegMagic) == Magic && s.load(RegVersion) == 1 &&
		s.load(RegVendorID) == VendorID && s.load(RegDeviceID) == uint32(s.dev.Info().ID)
	if !known {
		s.regs.Zero(0, HeaderSize)
	}
	for _, w := range []struct {
		reg uint64
		v   uint32
	}{
		{RegVersion, 1},
		{RegDeviceID, uint32(s.dev.Info().ID)},
		{RegVendorID, VendorID},
		{RegDeviceFeatures, s.dev.Offered().Word(0)},
		{RegQueueNumMax, uint32(s.numMax())},
		{RegSHMLenLow, uint32(s.place.Size)},
		{RegSHMLenHigh, uint32(s.place.Size >> 32)},
		{RegSHMBaseLow, uint32(s.place.Block)},
		{RegSHMBaseHigh, uint32(s.place.Block >> 32)},
	} {
		s.store(w.reg, w.v)
	}
	if known {
		s.attach()
	}
	if s.dev.TakesConfig() {
		s.config = make([]byte, s.dev.Info().ConfigLen)
	}
	s.publishConfig()
}

// publishConfig writes the configuration space; its generation is odd meanwhile.
func (s *slot) publishConfig() {
	n := s.dev.Info().ConfigLen
	if n == 0 {
		return
	}
	s.dirty.Store(false)
	generation := s.load(RegConfigGeneration) &^ 1
	s.store(RegConfigGeneration, generation+1)
	var config [ConfigSize]byte
	s.dev.ReadConfig(config[:n], 0)
	s.regs.WriteAt(config[:n], RegConfig)
	copy(s.config, config[:n])
	s.store(RegConfigGeneration, generation+2)
}

// takeConfig hands what the driver wrote into the configuration space to the device, word by
// word as the registers are, and keeps what it then reads.
func (s *slot) takeConfig() {
	var now [ConfigSize]byte
	config := now[:len(s.config)]
	s.regs.ReadAt(config, RegConfig)
	changed := false
	for off := 0; off < len(config); off += 4 {
		end := min(off+4, len(config))
		if string(config[off:end]) != string(s.config[off:end]) {
			s.dev.WriteConfig(config[off:end], off)
			changed = true
		}
	}
	if changed {
		s.publishConfig()
	}
}
