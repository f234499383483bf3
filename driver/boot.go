package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// Config is what a driver asks of a device.
type Config struct {
	// Sizes holds the size of each queue, a power of two; 0 means 128 or the device's maximum,
	// whichever is less. Its length is how many queues are set up.
	Sizes []uint16
	// Features is what the driver understands; what the device offers of it is acknowledged.
	Features virtio.Features
	// ConfigChanged, if not nil, is called when the device says that its configuration space
	// reads differently now. It runs where Request.Done runs, and must not block either.
	ConfigChanged func()
	// Lost, if not nil, is called once when a device of hvl-v2 says that it needs a reset
	// (DEVICE_NEEDS_RESET, or a monitor that came up without its state): every request has failed
	// with ErrNeedsReset, and Start brings it up again, though not from here: it runs where
	// Request.Done runs.
	Lost func(error)
}

// defaultSize is the size of a queue of which none is named: a ring of two pages.
const defaultSize = 128

// ErrNoAck: the back-end did not acknowledge a queue in the time the dialect gives it.
var ErrNoAck = errors.New("the back-end did not acknowledge the queue in time")

// Step is one step of a bring-up: one store to a register, one wait or one doorbell, and what
// has to be read for it. (The rings are cleared in steps of their own, a whole ring each.)
type Step struct {
	// Name says what is done: "Status=1", "QueuePFN=0" (of queue 0), "wait ack 0",
	// "rewrite PFN 0", "ring".
	Name string
	w    *Window
	do   func(context.Context) error
}

// Do does the step. Only the waits look at ctx.
func (s Step) Do(ctx context.Context) error {
	return s.w.guarded(func() error { return s.do(ctx) })
}

// Start brings the device up: all steps of Boot. The waits end with ctx, or sooner where the
// dialect says so.
//
// A device of hvl-v2 may be started as often as one likes, over whatever state it is in: an
// earlier driver's or monitor's, its own need for a reset. Requests of an earlier Start fail with
// ErrReset; their memory is used again once the device has let go of it.
func (d *Device) Start(ctx context.Context, c Config) error {
	steps, err := d.Boot(c)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if err := s.Do(ctx); err != nil {
			return fmt.Errorf("driver: %v: %s: %w", d, s.Name, err)
		}
	}
	return nil
}

// Boot takes memory for the rings and returns the bring-up of the device as steps, to be done
// in order, once. A test that stops in between is a front-end that died there: it boots again
// with a new Window, and finds its rings at the same addresses if it does the same things.
func (d *Device) Boot(c Config) ([]Step, error) {
	if d.page != nil {
		return d.bootPage(c)
	}
	if d.life.Load() != nil {
		return nil, fmt.Errorf("driver: %v: already booted by this window", d)
	}
	var queues []*Queue
	err := d.w.guarded(func() (err error) {
		if v := d.load(mmio.RegVersion); v != 1 {
			return fmt.Errorf("header is of version %d, not 1", v)
		}
		d.generation = d.load(mmio.RegConfigGeneration)
		queues, err = d.takeRings(c.Sizes)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("driver: %v: %w", d, err)
	}
	d.life.Store(&life{queues: queues, changed: c.ConfigChanged})
	if err := d.w.join(d); err != nil {
		return nil, fmt.Errorf("driver: %v: %w", d, err)
	}
	b := boot{d: d, dialect: d.w.opts.Dialect}
	b.all(c.Features.Word(0))
	return b.steps, nil
}

// join has interrupts, and the end of the window, reach the device.
func (w *Window) join(d *Device) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.booted, d) {
		w.booted = append(w.booted, d)
	}
	return w.err
}

// takeRings makes the queues, ready to be cleared.
func (d *Device) takeRings(sizes []uint16) (queues []*Queue, err error) {
	if len(sizes) == 0 {
		return nil, errors.New("no queue asked for")
	}
	numMax := d.load(mmio.RegQueueNumMax)
	var taken []Buffer
	defer func() {
		if err != nil {
			for _, b := range taken {
				b.Free()
			}
		}
	}()
	for i, size := range sizes {
		if size == 0 {
			size = uint16(min(numMax, defaultSize))
		}
		if !vring.ValidSize(uint32(size)) || uint32(size) > numMax {
			return nil, fmt.Errorf("queue %d: size %d is not a power of two up to the device's %d", i, size, numMax)
		}
		mem, err := d.pool.alloc(vring.LegacyBytes(size, pageSize), pageSize)
		if err != nil {
			return nil, fmt.Errorf("queue %d: ring of %d bytes: %w", i, vring.LegacyBytes(size, pageSize), err)
		}
		taken = append(taken, mem)
		ring, err := NewRing(d.w.space, vring.Legacy(mem.Addr, size, pageSize), i, false)
		if err != nil {
			return nil, err
		}
		queues = append(queues, newQueue(d, i, ring, mem))
	}
	return queues, nil
}

// boot collects the steps of a bring-up.
type boot struct {
	d       *Device
	dialect Dialect
	steps   []Step
}

// all is the whole sequence. Where the dialects differ is said by Dialect.
func (b *boot) all(want uint32) {
	if !b.d.w.opts.NoLoad {
		for _, q := range b.d.queues() {
			b.step(fmt.Sprintf("zero ring %d", q.index), q.ring.Zero)
		}
	}
	b.status(virtio.Acknowledge)
	b.store("GuestPageSize", mmio.RegGuestPageSize, pageSize)
	b.status(virtio.Driver)
	b.store("DeviceFeaturesSel=0", mmio.RegDeviceFeaturesSel, 0)
	b.step("DriverFeatures", func() { b.d.negotiate(want) })
	b.ring()
	for _, q := range b.d.queues() {
		b.queue(q)
	}
	b.status(virtio.DriverOK)
	for _, q := range b.d.queues() {
		b.step(fmt.Sprintf("QueueNotify=%d", q.index), func() {
			q.goLive()
			b.d.store(mmio.RegQueueNotify, uint32(q.index))
		})
		b.ring()
	}
}

// queue is the part of one queue, up to its acknowledgement.
func (b *boot) queue(q *Queue) {
	named := func(what string) string { return fmt.Sprintf("%s=%d", what, q.index) }
	b.store(named("QueueSel"), mmio.RegQueueSel, uint32(q.index))
	b.store(named("QueueSel"), mmio.RegQueueSel, uint32(q.index)) // as deployed: twice
	b.store(named("QueueNum"), mmio.RegQueueNum, uint32(q.ring.Size()))
	if b.dialect == Zephyr2021 {
		b.ring()
	}
	b.store(named("QueueAlign"), mmio.RegQueueAlign, pageSize)
	b.store(named("QueuePFN"), mmio.RegQueuePFN, q.pfn())
	b.ring()
	b.add(fmt.Sprintf("wait ack %d", q.index), q.waitAck)
	if b.dialect != Zephyr2021 {
		b.store(fmt.Sprintf("rewrite PFN %d", q.index), mmio.RegQueuePFN, q.pfn())
	}
}

func (b *boot) status(bit virtio.Status) {
	if b.dialect == V2025 {
		b.step(fmt.Sprintf("Status|=%d", bit), func() {
			b.d.store(mmio.RegStatus, b.d.load(mmio.RegStatus)|uint32(bit))
		})
	} else {
		b.store(fmt.Sprintf("Status=%d", bit), mmio.RegStatus, uint32(bit))
	}
	b.ring()
}

func (b *boot) store(name string, reg uint64, v uint32) {
	b.step(name, func() { b.d.store(reg, v) })
}

func (b *boot) ring() {
	b.add("ring", func(context.Context) error { return b.d.w.opts.Line.Raise() })
}

func (b *boot) step(name string, do func()) {
	b.add(name, func(context.Context) error { do(); return nil })
}

func (b *boot) add(name string, do func(context.Context) error) {
	b.steps = append(b.steps, Step{Name: name, w: b.d.w, do: do})
}

// negotiate acknowledges what is both offered and wanted.
func (d *Device) negotiate(want uint32) {
	features := virtio.Features{}.SetWord(0, d.load(mmio.RegDeviceFeatures)&want)
	d.negotiated.Store(&features)
	for _, q := range d.queues() {
		q.ring.eventIdx = features.Has(virtio.EventIdx)
	}
	d.store(mmio.RegDriverFeatures, features.Word(0))
}

// waitAck waits for the back-end to take the queue. From then on the ring is shared.
func (q *Queue) waitAck(ctx context.Context) error {
	if limit := q.w.opts.Dialect.ackWait(); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, ErrNoAck)
		defer cancel()
	}
	err := q.w.await(ctx, func() (bool, error) { return q.d.load(mmio.RegQueuePFN) == mmio.QueueAck, nil })
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.acked = true
	return nil
}
