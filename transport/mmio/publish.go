package mmio

import (
	"fmt"
	"slices"

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
	if b.place.Layout == Table || b.place.Layout == Modern {
		// A header behind the last device would be taken for one of ours. Its magic is all
		// that is taken away: nothing else in the page is known to be a header's.
		for i := len(b.slots); i < tableSlots; i++ {
			if magic := all.Slice(uint64(i)*HeaderSize, 4); magic.Load32(RegMagic) == Magic {
				magic.Store32(RegMagic, 0)
			}
		}
	}
	for _, s := range slices.Backward(b.slots) {
		s.store(RegMagic, Magic) // whoever finds the first one finds them all
	}
	return b.publishPages(all)
}

// publish writes one header, all but the magic, and takes up the session in it if there is one.
func (s *slot) publish() {
	known := s.load(RegMagic) == Magic && s.load(RegVersion) == 1 &&
		s.load(RegVendorID) == VendorID && s.load(RegDeviceID) == uint32(s.dev.Info().ID)
	if !known {
		s.regs.Zero(0, HeaderSize)
	}
	s.generation = (s.load(RegConfigGeneration) + 1) &^ 1
	s.registers()
	s.publishConfig()
	if known {
		s.attach()
	}
}

// announce publishes a header once more, in case its driver wrote where it must not.
func (s *slot) announce() {
	s.registers()
	s.publishConfig()
	s.store(RegMagic, Magic)
}

// registers writes the words that only the device writes and that never change.
func (s *slot) registers() {
	s.store(RegVersion, 1)
	s.store(RegDeviceID, uint32(s.dev.Info().ID))
	s.store(RegVendorID, VendorID)
	s.store(RegDeviceFeatures, s.dev.Offered().Word(0))
	s.store(RegQueueNumMax, uint32(s.numMax))
	s.store(RegSHMLenLow, uint32(s.place.Size))
	s.store(RegSHMLenHigh, uint32(s.place.Size>>32))
	s.store(RegSHMBaseLow, uint32(s.place.Block))
	s.store(RegSHMBaseHigh, uint32(s.place.Block>>32))
}
