package driver

import (
	"fmt"
	"sync/atomic"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// Device is one device of a window. Its methods are safe for concurrent use, save that Boot, its
// steps and Start are one goroutine's.
type Device struct {
	w    *Window
	slot int
	addr uint64
	regs shmem.Span
	id   virtio.DeviceID
	pool *pool

	page       *page // hvl-v2: registers written by transactions; nil for a version 1 header
	life       atomic.Pointer[life]
	generation uint32 // of the configuration space when last told; the interrupt's
	negotiated atomic.Pointer[virtio.Features]
}

// life is what one bring-up of a device makes, immutable.
type life struct {
	queues  []*Queue
	changed func()
	lost    func(error)
}

// Window is the window the device is in.
func (d *Device) Window() *Window { return d.w }

// Slot is the position of the device's header in the window, from 0.
func (d *Device) Slot() int { return d.slot }

// ID is the device's type.
func (d *Device) ID() virtio.DeviceID { return d.id }

// String names the device for messages.
func (d *Device) String() string { return fmt.Sprintf("%v in slot %d", d.id, d.slot) }

// Queue is queue i, or nil when Boot did not set it up.
func (d *Device) Queue(i int) *Queue {
	queues := d.queues()
	if i < 0 || i >= len(queues) {
		return nil
	}
	return queues[i]
}

// queues are those of the last bring-up.
func (d *Device) queues() []*Queue {
	if l := d.life.Load(); l != nil {
		return l.queues
	}
	return nil
}

// Alloc takes n bytes of the memory where the device's buffers may lie.
func (d *Device) Alloc(n int) (Buffer, error) { return alloc(d.pool, n) }

// Negotiated is the set of features acknowledged by the driver; empty before that.
func (d *Device) Negotiated() virtio.Features {
	if f := d.negotiated.Load(); f != nil {
		return *f
	}
	return virtio.Features{}
}

// Offered is the set of features the device offers. A slot page of hvl-v2 shows a part of it at
// a time: there the device is reset first unless this Window has done so already.
func (d *Device) Offered() (f virtio.Features, err error) {
	if d.page != nil {
		return d.offered()
	}
	err = d.w.guarded(func() error {
		f = f.SetWord(0, d.load(mmio.RegDeviceFeatures))
		return nil
	})
	return f, err
}

// configLooks bounds the looks at a configuration space that changes all the time.
const configLooks = 1000

// ReadConfig fills p with the configuration space from offset off, all of one generation
// (2.5.1).
func (d *Device) ReadConfig(p []byte, off int) error {
	if size := d.configSize(); off < 0 || off > size || len(p) > size-off {
		return fmt.Errorf("driver: %v: %d bytes at %d are outside of a configuration space", d, len(p), off)
	}
	if d.page != nil {
		return d.readConfig(p, off)
	}
	err := d.w.guarded(func() error {
		for range configLooks {
			before := d.load(mmio.RegConfigGeneration)
			d.regs.ReadAt(p, mmio.RegConfig+uint64(off))
			// It is odd while the back-end is writing.
			if before&1 == 0 && d.load(mmio.RegConfigGeneration) == before {
				return nil
			}
		}
		return fmt.Errorf("configuration space never stood still in %d looks", configLooks)
	})
	if err != nil {
		return fmt.Errorf("driver: %v: %w", d, err)
	}
	return nil
}

func (d *Device) load(reg uint64) uint32     { return d.regs.Load32(reg) }
func (d *Device) store(reg uint64, v uint32) { d.regs.Store32(reg, v) }
