package mmio

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// Options describes a window and how its devices are served.
type Options struct {
	Region *shmem.Region // the window, mapped
	Addr   uint64        // driver address of its first byte
	Line   notify.Line   // the doorbell; the Bus is the one that waits on it
	Layout Layout

	// Offer holds ring features for drivers that are known to want them, from the one word
	// (bits 0 to 31) that legacy front-ends read. The deployed ones need none, so none is
	// offered unless named here. In the Modern and Bare layouts it is for the pages, any word
	// of it, and none named is hvl2.DefaultOffer.
	Offer virtio.Features
	// PlainStore makes the Bus do without compare-and-swap on Normal memory too, as it must on
	// any other kind: for a peer that does not see this CPU's atomics.
	PlainStore bool
	// Isolate confines a restart of the driver to the device it shows on. By default one
	// front-end owns the whole window, and its restart ends the sessions of all devices.
	Isolate bool
	// ConfigInterrupt raises bit 1 of InterruptStatus when a configuration changes. No deployed
	// front-end handles it.
	ConfigInterrupt bool
	// ClearIdle clears the interrupt bit of a device that has had no news for a few
	// acknowledgements, so that interrupts of its neighbours stop costing the front-end a
	// callback and an acknowledgement for it. By default the bit stays set for the session.
	// It relies on two things: runs of the front-end's handler for one device do not overlap,
	// and its stores are visible here within a millisecond.
	ClearIdle bool
	// Wipe clears the whole window at start, a live front-end's memory included. Without it a
	// window found live is attached to.
	Wipe bool
	// Spin is how long a queue is watched for more before its device sleeps; 0 is at once.
	Spin time.Duration
	// Ready, if not nil, is called once the devices can be found and are served.
	Ready func()
	Log   *slog.Logger // nil: slog.Default
}

// check refuses what cannot be served, and fills in what was left to us.
func (o *Options) check() error {
	if o.Region == nil || o.Line == nil {
		return errors.New("a bus needs a region and a doorbell")
	}
	if o.Layout > Bare {
		return fmt.Errorf("layout %d: there are Table (%d), Tree (%d), Modern (%d) and Bare (%d)", o.Layout, Table, Tree, Modern, Bare)
	}
	if o.Layout == Bare && o.Wipe {
		return errors.New("a bare window is not the bus's to wipe")
	}
	if high := o.Offer.Without(firstWord); (o.Layout == Table || o.Layout == Tree) && high != (virtio.Features{}) {
		return fmt.Errorf("features %v cannot be offered: front-ends read bits 0 to 31 only", high)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return nil
}

// firstWord is the features that a header has room for.
var firstWord = virtio.Features{}.SetWord(0, ^uint32(0))
