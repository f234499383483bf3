package hvl2

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// Slot is the device side of one slot page. One goroutine makes all calls but Stats and Quiet:
// New, Start, Scan on every doorbell and every wake-up, Stop, Remove. None of them waits.
type Slot struct {
	name  string
	opts  Options
	place Place
	log   *slog.Logger
	dev   *virtio.Device
	space *shmem.Space // the driver's memory, and nothing else
	page  shmem.Span

	registers           // what the words of the page were last stored as
	halted    bool      // the device was found stopped at Start: dev knows nothing of it
	config    []byte    // the configuration space as published
	scratch   []byte    // room for a look at it
	inflight  []journal // of a device that can go on with it
	mayResume bool

	seq     uint32      // of the transaction that is executed
	pending func() bool // looks whether it is complete; nil: none is executed
	later   *time.Timer // the next look

	events events
	dirty  atomic.Bool // the configuration space is to be published anew

	hook func() // tests kill the monitor here, before the store; nil otherwise

	quietUntil time.Time // no refusal is logged before
	stats      counters
}

// registers is the private image of the page: the page itself is only stored to.
type registers struct {
	ack, beat, epoch, starts uint32
	result                   Result
	resetFirst               bool
	status                   virtio.Status
	devFeatSel, drvFeatSel   uint32
	queueSel, shmSel         uint32
	driver                   virtio.Features
	queues                   []queue
	generation, configEvents uint32
}

// queue is the registers of one virtqueue.
type queue struct {
	size                 uint32
	desc, driver, device uint64
	ready                bool
}

func (q queue) layout() vring.Layout {
	return vring.Layout{Size: uint16(q.size), Desc: q.desc, Avail: q.driver, Used: q.device}
}

// New makes the slot of a device. It touches no memory.
func New(name string, backend virtio.Backend, o Options) (*Slot, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("hvl2: %s: %w", name, err)
	}
	s := &Slot{name: name, opts: o, place: o.Place, log: o.Log.With("device", name)}
	info := backend.Info()
	if info.ConfigLen > ConfigSize {
		return nil, fmt.Errorf("hvl2: %s: configuration of %d bytes does not fit the page's %d", name, info.ConfigLen, ConfigSize)
	}
	if most := (s.place.SlotSize - recQueues) / queueStride; uint64(len(info.Queues)) > most {
		return nil, fmt.Errorf("hvl2: %s: %d queues, and a slot of %#x bytes has room for %d", name, len(info.Queues), s.place.SlotSize, most)
	}
	var err error
	if s.page, err = o.Region.Span(s.place.SlotOff, s.place.SlotSize); err != nil {
		return nil, fmt.Errorf("hvl2: %s: slot page: %w", name, err)
	}
	s.space, err = shmem.NewSpace(shmem.Window{Addr: s.place.AddrBase, Region: o.Region, Off: s.place.MemOff, Size: s.place.MemSize})
	if err != nil {
		return nil, fmt.Errorf("hvl2: %s: %w", name, err)
	}
	s.dev, err = virtio.NewDevice(name, backend, s, virtio.Options{Offer: o.Offer.With(demanded), Spin: o.Spin, Log: o.Log})
	if err != nil {
		return nil, fmt.Errorf("hvl2: %w", err)
	}
	s.queues = make([]queue, len(info.Queues))
	s.events.wanted = make([]bool, len(info.Queues))
	s.config, s.scratch = make([]byte, info.ConfigLen), make([]byte, info.ConfigLen)
	if s.mayResume = info.InOrder; !s.mayResume && info.Redo {
		s.mayResume, err = s.openJournals()
	}
	if err != nil {
		return nil, fmt.Errorf("hvl2: %s: %w", name, err)
	}
	return s, nil
}

// Name is the name given at New.
func (s *Slot) Name() string { return s.name }

// ID is the type of the device.
func (s *Slot) ID() virtio.DeviceID { return s.dev.Info().ID }

// Place is where the slot lies.
func (s *Slot) Place() Place { return s.place }

func (s *Slot) load(off uint64) uint32 { return s.page.Load32(off) }

// store is every store to the page.
func (s *Slot) store(off uint64, v uint32) {
	if s.hook != nil {
		s.hook()
	}
	s.page.Store32(off, v)
}

// store64 is two words, low one first.
func (s *Slot) store64(off, v uint64) {
	s.store(off, uint32(v))
	s.store(off+4, uint32(v>>32))
}

func (s *Slot) load64(off uint64) uint64 {
	return uint64(s.load(off)) | uint64(s.load(off+4))<<32
}

// Wake has the slot looked at again (virtio.Transport).
func (s *Slot) Wake() { s.opts.Wake() }

// NotifyConfig has the configuration space published anew, and the driver told
// (virtio.Transport).
func (s *Slot) NotifyConfig() {
	s.dirty.Store(true)
	s.Wake()
}
