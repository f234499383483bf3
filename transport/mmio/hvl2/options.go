package hvl2

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// Place is where a slot lies in a window. Offsets are from the start of the window.
type Place struct {
	SlotOff  uint64 // of the slot page, a multiple of PageSize
	SlotSize uint64 // bytes, a multiple of PageSize; 0: PageSize, enough for 54 queues
	// The driver memory that the device may touch, and it alone: rings and buffers lie in it.
	// Multiples of PageSize. It may hold the page itself, where the window is a driver's whole
	// RAM.
	MemOff, MemSize uint64
	AddrBase        uint64 // the driver's address of the first byte of that memory
	// InflightOff and InflightSize name memory that no driver uses, 4 bytes for every entry of
	// every queue: what lets the successor of a killed monitor go on with a device that
	// completes out of order. Size 0 is none.
	InflightOff, InflightSize uint64
}

// Options says where a slot lies and how it is served.
type Options struct {
	Region *shmem.Region // the window, mapped
	Place  Place

	// Ring rings the driver, Wake has Scan called soon. Both are called from any goroutine and
	// must not block.
	Ring, Wake func()

	// Offer holds the ring features offered, beside those that the memory demands: VERSION_1,
	// ACCESS_PLATFORM and ORDER_PLATFORM (6). The zero set is DefaultOffer.
	Offer virtio.Features
	// Version is what the register of that name holds: 2, or 3 for drivers that want it; the
	// device is the same. 0 is 2: Linux up to 6.1 knows nothing else.
	Version uint32
	// Spin is how long a queue is watched for more before its device sleeps; 0 is at once.
	Spin time.Duration
	Log  *slog.Logger // nil: slog.Default
}

// DefaultOffer is INDIRECT_DESC, EVENT_IDX and RING_RESET.
func DefaultOffer() virtio.Features {
	return virtio.FeatureSet(virtio.IndirectDesc, virtio.EventIdx, virtio.RingReset)
}

// demanded is offered always: the driver's addresses are not all of its memory, and the peer may
// see another bus.
var demanded = virtio.FeatureSet(virtio.Version1, virtio.AccessPlatform, virtio.OrderPlatform)

// check refuses what cannot be served, and fills in what was left to us.
func (o *Options) check() error {
	if o.Region == nil || o.Ring == nil || o.Wake == nil {
		return errors.New("a slot needs a region, and functions to ring and to wake")
	}
	if o.Version == 0 {
		o.Version = 2
	}
	if o.Version != 2 && o.Version != 3 {
		return fmt.Errorf("version %d: there is 2 and 3", o.Version)
	}
	if o.Offer == (virtio.Features{}) {
		o.Offer = DefaultOffer()
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o.Place.check()
}

func (p *Place) check() error {
	if p.SlotSize == 0 {
		p.SlotSize = PageSize
	}
	for _, v := range []struct {
		what string
		n    uint64
	}{{"offset of the page", p.SlotOff}, {"size of the page", p.SlotSize}, {"offset of the memory", p.MemOff}, {"size of the memory", p.MemSize}} {
		if v.n%PageSize != 0 {
			return fmt.Errorf("%s, %#x, is not a multiple of %#x", v.what, v.n, uint64(PageSize))
		}
	}
	if p.MemSize == 0 {
		return errors.New("the memory is empty")
	}
	if p.InflightOff%4 != 0 || p.InflightOff > 1<<32-1 || p.InflightSize > 1<<32-1 {
		return fmt.Errorf("in-flight words at %#x, %d bytes: a multiple of 4 within 32 bits is needed", p.InflightOff, p.InflightSize)
	}
	if p.InflightSize != 0 && p.InflightOff < p.MemOff+p.MemSize && p.MemOff < p.InflightOff+p.InflightSize {
		return fmt.Errorf("in-flight words at %#x, %d bytes, lie in the driver's memory", p.InflightOff, p.InflightSize)
	}
	return nil
}
