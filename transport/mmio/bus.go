package mmio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
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

	// Offer holds ring features for drivers that are known to want them. The deployed
	// front-ends need none, so none is offered unless named here.
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

// Bus serves the devices of one window. Add them, then Run; Stats may be called at any time.
type Bus struct {
	opts  Options
	log   *slog.Logger
	space *shmem.Space
	cas   bool // QueuePFN is acknowledged by compare-and-swap
	slots []*slot
	names []Slot
	place Map
	hook  func(point, *slot) // tests pause the scan here; nil otherwise
}

// NewBus makes a bus without devices.
func NewBus(o Options) (*Bus, error) {
	if o.Region == nil || o.Line == nil {
		return nil, errors.New("mmio: a bus needs a region and a doorbell")
	}
	space, err := shmem.NewSpace(shmem.Window{Addr: o.Addr, Region: o.Region})
	if err != nil {
		return nil, fmt.Errorf("mmio: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Bus{
		opts: o, log: o.Log, space: space,
		cas: o.Region.Kind().CompareAndSwap() && !o.PlainStore,
	}, nil
}

// Add puts a device into the next slot. mem is the size of its block in the Tree layout, 0 for
// the usual one. Not after Run.
func (b *Bus) Add(name string, backend virtio.Backend, mem uint64) error {
	info := backend.Info()
	if info.ConfigLen > ConfigSize {
		return fmt.Errorf("%s: configuration of %d bytes does not fit the header's %d", name, info.ConfigLen, ConfigSize)
	}
	for b := virtio.Feature(32); b < virtio.FeatureBits; b++ {
		info.Features = info.Features.Without(virtio.FeatureSet(b)) // one word is all there is
	}
	s := &slot{bus: b, name: name}
	dev, err := virtio.NewDevice(name, backend, s, virtio.Options{
		Offer: b.opts.Offer, Standing: s.standing, Spin: b.opts.Spin, Log: b.log,
	})
	if err != nil {
		return fmt.Errorf("mmio: %w", err)
	}
	names := append(b.names, Slot{name, info.ID, mem})
	place, err := NewMap(b.opts.Layout, b.opts.Addr, b.opts.Region.Size(), names...)
	if err != nil {
		return fmt.Errorf("mmio: %w", err)
	}
	at := place.Places[len(place.Places)-1]
	s.dev, s.place = dev, at
	if s.regs, err = b.space.Span(at.Header, HeaderSize); err != nil {
		return fmt.Errorf("mmio: %s: %w", name, err)
	}
	s.queues = make([]ring, len(info.Queues))
	b.names, b.place, b.slots = names, place, append(b.slots, s)
	return nil
}

// Map is the memory map with the devices added so far.
func (b *Bus) Map() Map { return b.place }

// Stats is a snapshot of every device.
func (b *Bus) Stats() []virtio.DeviceStats {
	var all []virtio.DeviceStats
	for _, s := range b.slots {
		st := s.dev.Stats()
		st.Status = virtio.Status(s.status.Load())
		all = append(all, st)
	}
	return all
}

// stopTime bounds how long Run waits for backends at the end.
const stopTime = 5 * time.Second

// Run publishes the devices, magic last, and serves them until ctx ends (nil) or the doorbell
// or the window is lost. Sessions are over when it returns.
func (b *Bus) Run(ctx context.Context) error {
	if len(b.slots) == 0 {
		return errors.New("mmio: a bus without devices")
	}
	if err := b.publish(); err != nil {
		return fmt.Errorf("mmio: %w", err)
	}
	if b.opts.Ready != nil {
		b.opts.Ready()
	}
	stop := context.AfterFunc(ctx, b.opts.Line.Wake)
	defer stop()
	err := b.serve(ctx)
	return errors.Join(err, b.stop())
}

func (b *Bus) serve(ctx context.Context) error {
	for ctx.Err() == nil {
		b.at(pointWoken, nil)
		if err := b.scan(); err != nil {
			return fmt.Errorf("mmio: window %v: %w", b.opts.Region, err)
		}
		b.at(pointIdle, nil)
		if err := b.opts.Line.Wait(); err != nil {
			return fmt.Errorf("mmio: doorbell: %w", err)
		}
	}
	return nil
}

// scan looks at every device once, and again at those whose registers moved under the look.
func (b *Bus) scan() (err error) {
	defer shmem.Recover(&err, shmem.Guard())
	for _, s := range b.slots {
		for s.scan() {
		}
	}
	return nil
}

// stop ends all sessions and waits for the backends, a bounded time.
func (b *Bus) stop() error {
	for _, s := range b.slots {
		s.dev.End()
	}
	var expired atomic.Bool
	defer time.AfterFunc(stopTime, func() {
		expired.Store(true)
		b.opts.Line.Wake()
	}).Stop()
	for _, s := range b.slots {
		for !s.dev.Quiet() {
			if expired.Load() {
				return fmt.Errorf("mmio: %s: backend did not stop", s.name)
			}
			if err := b.opts.Line.Wait(); err != nil {
				return fmt.Errorf("mmio: %s: backend may not have stopped: %w", s.name, err)
			}
		}
	}
	return nil
}

// clearing reports whether acknowledgements are worth a look: with one live device alone the
// bit costs nothing.
func (b *Bus) clearing() bool {
	if !b.opts.ClearIdle {
		return false
	}
	live := 0
	for _, s := range b.slots {
		if s.live {
			live++
		}
	}
	return live > 1
}

// quiet reports whether no ended session of the front-end that owns s lingers.
func (b *Bus) quiet(s *slot) bool {
	if b.opts.Isolate {
		return s.dev.Live() || s.dev.Quiet()
	}
	for _, s := range b.slots {
		if !s.dev.Live() && !s.dev.Quiet() {
			return false
		}
	}
	return true
}

// restarted ends the session of s, and of all devices unless they are isolated (R1').
func (b *Bus) restarted(s *slot) {
	if b.opts.Isolate {
		s.end()
		return
	}
	for _, s := range b.slots {
		s.end()
	}
}

// point is a place in the scan where the front-end can do anything, used by the directed tests.
type point int

const (
	pointWoken    point = iota // after the doorbell was consumed, before the first load
	pointPFN                   // after QueuePFN was read
	pointGPS                   // after GuestPageSize was read
	pointStatus                // after Status was read
	pointSel                   // between QueueSel and QueueNum
	pointPoison                // after the sentinel went into QueueAlign, before the ack
	pointReread                // plain stores: between the last look and the ack
	pointAcked                 // after the ack, before the second look at GuestPageSize
	pointNotify                // a worker: after the used index, before InterruptStatus
	pointDoorbell              // a worker: after InterruptStatus, before the doorbell
	pointIdle                  // after the last load, before the sleep
)

func (b *Bus) at(p point, s *slot) {
	if b.hook != nil {
		b.hook(p, s)
	}
}
