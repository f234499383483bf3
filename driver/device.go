package driver

import (
	"context"
	"errors"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// Device is one device of a window. Its methods are safe for concurrent use.
type Device struct {
	w      *Window
	slot   int
	regs   shmem.Span
	id     virtio.DeviceID
	queues []*Queue
}

// Config is what a driver asks of a device.
type Config struct {
	// Sizes holds the size of each queue, a power of two; 0 means 128 or the device's maximum,
	// whichever is less. Its length is how many queues are set up.
	Sizes []uint16
	// Features is what the driver understands; what the device offers of it is acknowledged.
	Features virtio.Features
	// ConfigChanged, if not nil, is called when the device says that its configuration space
	// reads differently now. It must not block.
	ConfigChanged func()
}

// Slot is the position of the device's header in the window, from 0.
func (d *Device) Slot() int { return d.slot }

// ID is the device's type.
func (d *Device) ID() virtio.DeviceID { return d.id }

// Offered is the set of features the device offers.
func (d *Device) Offered() virtio.Features { return virtio.Features{} }

// Negotiated is the set of features acknowledged by the driver; empty before that.
func (d *Device) Negotiated() virtio.Features { return virtio.Features{} }

// ReadConfig fills p with the configuration space from offset off, all of one generation.
func (d *Device) ReadConfig(p []byte, off int) error { return errors.New("driver: not yet") }

// Alloc takes n bytes of the memory the device's buffers may lie in.
func (d *Device) Alloc(n int) (Buffer, error) { return Buffer{}, errors.New("driver: not yet") }

// Queue is queue i, or nil when Boot did not set it up.
func (d *Device) Queue(i int) *Queue {
	if i < 0 || i >= len(d.queues) {
		return nil
	}
	return d.queues[i]
}

// Start brings the device up: all steps of Boot. Waits end with ctx, or sooner where the dialect
// says so.
func (d *Device) Start(ctx context.Context, c Config) error { return errors.New("driver: not yet") }

// Boot returns the bring-up of the device as steps to be done in order, once. A test that stops
// in between is a front-end that died there; it boots again with a new Window, and finds its
// rings at the same addresses if it does the same things.
func (d *Device) Boot(c Config) ([]Step, error) { return nil, errors.New("driver: not yet") }

// Step is one step of a bring-up: one store to a register, one wait or one doorbell, and what
// has to be read for it. (The rings are cleared in steps of their own, a whole ring each.)
type Step struct {
	// Name says what is done: "Status=1", "QueuePFN=0" (of queue 0), "wait ack 0",
	// "rewrite PFN 0", "ring".
	Name string
	do   func(context.Context) error
}

// Do does the step. Only the waits look at ctx.
func (s Step) Do(ctx context.Context) error { return s.do(ctx) }
