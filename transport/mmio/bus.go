package mmio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// Bus serves the devices of one window: NewBus, Add or AddPage for each, Run. Map and Stats may be
// called from any goroutine once the last device was added.
type Bus struct {
	opts  Options
	log   *slog.Logger
	space *shmem.Space
	cas   bool // QueuePFN is acknowledged by compare-and-swap
	slots []*slot
	pages []*page
	names []Slot
	place Map

	busy     bool          // this scan found something to do
	clearing bool          // acknowledgements are worth a look in this scan
	woken    chan struct{} // a Wake that does not need the doorbell, for the end
	patience time.Duration // stopTime

	hook func(point, *slot) // tests pause here; nil otherwise
}

// stopTime bounds how long Run waits for backends at the end.
const stopTime = 5 * time.Second

// NewBus makes a bus without devices.
func NewBus(o Options) (*Bus, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("mmio: %w", err)
	}
	space, err := shmem.NewSpace(shmem.Window{Addr: o.Addr, Region: o.Region})
	if err != nil {
		return nil, fmt.Errorf("mmio: %w", err)
	}
	return &Bus{
		opts: o, log: o.Log, space: space,
		cas:   o.Region.Kind().CompareAndSwap() && !o.PlainStore,
		place: Map{Layout: o.Layout, Addr: o.Addr, Size: o.Region.Size()},
		woken: make(chan struct{}, 1), patience: stopTime,
	}, nil
}

// Add puts a device into the next slot. mem is the size of its block in the Tree layout, 0 for
// the usual one, or of its memory in the Modern layout, 0 for an equal share. Not after Run, nor
// after AddPage.
func (b *Bus) Add(name string, backend virtio.Backend, mem uint64) error {
	if b.opts.Layout == Modern {
		return b.addPlaced(name, backend, mem)
	}
	if len(b.pages) > 0 {
		return fmt.Errorf("mmio: %s: the devices of the %v layout come before the pages beside them", name, b.opts.Layout)
	}
	info := backend.Info()
	if info.ConfigLen > ConfigSize {
		return fmt.Errorf("mmio: %s: configuration of %d bytes does not fit the header's %d", name, info.ConfigLen, ConfigSize)
	}
	names := append(b.names, Slot{name, info.ID, mem})
	place, err := NewMap(b.opts.Layout, b.opts.Addr, b.opts.Region.Size(), names...)
	if err != nil {
		return fmt.Errorf("mmio: %w", err)
	}
	s := &slot{bus: b, name: name, place: place.Places[len(b.slots)], queues: make([]ring, len(info.Queues))}
	if s.regs, err = b.space.Span(s.place.Header, HeaderSize); err != nil {
		return fmt.Errorf("mmio: %s: %w", name, err)
	}
	s.dev, err = virtio.NewDevice(name, backend, s, virtio.Options{
		Offer: b.opts.Offer, Standing: s.standing, Spin: b.opts.Spin, Log: b.log,
	})
	if err != nil {
		return fmt.Errorf("mmio: %w", err)
	}
	s.config, s.scratch, s.writable = make([]byte, info.ConfigLen), make([]byte, info.ConfigLen), s.dev.TakesConfig()
	s.numMax = s.dev.MaxSize(0)
	for i := range s.queues {
		s.numMax = min(s.numMax, s.dev.MaxSize(i))
	}
	b.names, b.place, b.slots = names, place, append(b.slots, s)
	return nil
}

// Map is the memory map with the devices added so far.
func (b *Bus) Map() Map { return b.place }

// Run publishes the devices, magic last, and serves them until ctx ends (nil) or the doorbell
// or the window is lost. Sessions are over when it returns, save those of backends that the
// error names. Legacy headers are left as they are, for a successor to attach to. Slot pages are
// taken away when ctx ends and left when anything else does. Call it once, or again after a window
// that vanished is back.
func (b *Bus) Run(ctx context.Context) error {
	if len(b.slots)+len(b.pages) == 0 {
		return errors.New("mmio: a bus without devices")
	}
	if err := b.claim(); err != nil {
		return err
	}
	if err := b.publish(); err != nil {
		b.stop()
		b.unclaim()
		return b.lost(err)
	}
	if b.opts.Ready != nil {
		b.opts.Ready()
	}
	stop := context.AfterFunc(ctx, b.opts.Line.Wake)
	defer stop()
	err := b.serve(ctx)
	stuck := b.stop()
	if err == nil {
		err = b.removePages()
	}
	if stuck == nil {
		b.unclaim()
	}
	return errors.Join(err, stuck)
}

func (b *Bus) serve(ctx context.Context) error {
	poll, _ := b.opts.Line.(notify.Adaptive)
	for ctx.Err() == nil {
		b.at(pointWoken, nil)
		if err := b.scan(); err != nil {
			return b.lost(err)
		}
		if b.busy && poll != nil {
			poll.Busy()
		}
		b.at(pointIdle, nil)
		if err := b.opts.Line.Wait(); err != nil {
			return fmt.Errorf("mmio: doorbell: %w", err)
		}
	}
	return nil
}

func (b *Bus) lost(err error) error { return fmt.Errorf("mmio: window %v: %w", b.opts.Region, err) }

// stop ends all sessions and waits for the backends, a bounded time.
func (b *Bus) stop() error {
	type ending struct {
		name  string
		quiet func() bool
	}
	var all []ending
	for _, s := range b.slots {
		s.dev.End()
		all = append(all, ending{s.name, s.dev.Quiet})
	}
	for _, p := range b.pages {
		p.Stop()
		all = append(all, ending{p.Name(), p.Quiet})
	}
	expired := time.After(b.patience)
	var stuck []error
	for _, d := range all {
		for !d.quiet() && stuck == nil {
			select {
			case <-b.woken:
			case <-expired:
				for _, d := range all {
					if !d.quiet() {
						stuck = append(stuck, fmt.Errorf("mmio: %s: backend did not stop within %v", d.name, b.patience))
					}
				}
			}
		}
	}
	return errors.Join(stuck...)
}

// wake makes the bus look again, from any goroutine.
func (b *Bus) wake() {
	b.opts.Line.Wake()
	select {
	case b.woken <- struct{}{}:
	default:
	}
}

// atRest reports whether nothing of an ended session is left that a new one on s would have to
// fear: of s itself its backend must have returned, of its neighbours nothing may touch the
// memory that belongs to the front-end they share.
func (b *Bus) atRest(s *slot) bool {
	if !s.dev.Quiet() {
		return false
	}
	for _, other := range b.slots {
		if !b.opts.Isolate && other != s && !other.dev.Live() && !other.dev.Released() {
			return false
		}
	}
	return true
}

// restarted ends the session of s, and of all devices unless they are isolated (R1').
func (b *Bus) restarted(s *slot) {
	s.end()
	b.endOthers(s)
}

// endOthers ends the sessions that a restart of the driver seen on s makes doubtful.
func (b *Bus) endOthers(s *slot) {
	for _, other := range b.slots {
		if !b.opts.Isolate && other != s && other.open {
			b.endInDoubt(other)
		}
	}
}
