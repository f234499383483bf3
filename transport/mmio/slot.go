package mmio

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// sentinel is what the device leaves in GuestPageSize and QueueAlign. Every deployed driver
// stores the first at each boot and the second before each QueuePFN, and reads neither: a
// value there is news (docs/protocol.md, "The canaries").
const sentinel = 0

// slot is one device behind its header: the rules of docs/protocol.md for one driver. The
// fields are the scan's alone unless they say otherwise.
type slot struct {
	bus   *Bus
	name  string
	dev   *virtio.Device
	place Place
	regs  shmem.Span

	open    bool   // a session is open: the canary is armed
	live    bool   // the device serves it
	stale   bool   // DRIVER_OK stood before the first acknowledgement: it says nothing yet
	page    uint32 // GuestPageSize of the session, latched when it opened
	last    request
	acked   bool // last holds something
	queues  []ring
	former  []ring // of the session before, for the plain-store rule
	suspect bool   // an ack may have hit a rebooted driver unseen
	refused request
	stands  request   // plain stores: a repeated value that may be a missed request,
	since   time.Time // and since when
	config  []byte    // as the driver last saw it; nil unless it may write there

	status atomic.Uint32 // as last read, for Stats

	irq   interrupts
	dirty atomic.Bool // the configuration is to be published anew

	refusals atomic.Uint64
}

// request is what a driver asks to be acknowledged.
type request struct{ pfn, sel, num uint32 }

// ring is a queue as the scan configured it.
type ring struct {
	request
	vring.Layout
	start   uint16 // index of the first entry: not 0 after an attach
	end     uint64 // first address behind it
	resumed bool   // goes on where its used ring says
}

func (r ring) configured() bool { return r.pfn != 0 }

func (s *slot) load(reg uint64) uint32     { return s.regs.Load32(reg) }
func (s *slot) store(reg uint64, v uint32) { s.regs.Store32(reg, v) }

// standing is the look before every access to ring memory: has the driver booted again?
func (s *slot) standing() bool { return s.load(RegGuestPageSize) == sentinel }

// Wake makes the bus look again (virtio.Transport).
func (s *slot) Wake() { s.bus.opts.Line.Wake() }

// NotifyUsed raises the interrupt bit and rings (R5', virtio.Transport). The used index
// is stored already.
func (s *slot) NotifyUsed(int) {
	s.bus.at(pointNotify, s)
	if err := s.raise(InterruptUsed); err != nil {
		return // the window is gone; the bus finds that out itself
	}
	s.bus.at(pointDoorbell, s)
	s.ring()
}

// NotifyConfig has the bus publish the configuration anew (virtio.Transport).
func (s *slot) NotifyConfig() {
	s.dirty.Store(true)
	s.Wake()
}

func (s *slot) ring() {
	if err := s.bus.opts.Line.Raise(); err != nil {
		s.bus.log.Warn("doorbell failed", "device", s.name, "err", err)
	}
}

// end tells the session to end; the device lets go in its own time.
func (s *slot) end() {
	if !s.open {
		return
	}
	s.dev.End()
	s.former = s.queues
	s.drop(-1)
	s.open, s.live, s.suspect = false, false, false
	s.lower()
	s.forget()
}

// drop forgets every configured queue but one.
func (s *slot) drop(but int) {
	kept := s.queues
	s.queues = make([]ring, len(kept))
	if but >= 0 {
		s.queues[but] = kept[but]
	}
}

// errLive refuses a queue of a device whose other queues cannot be interrupted.
var errLive = errors.New("the device is live and does not complete in order: no queue can be added")

// reopen ends the life of a live device to let another queue in: the others go on afterwards
// where their used rings say.
func (s *slot) reopen() error {
	if !s.dev.Info().InOrder {
		return errLive
	}
	s.dev.End()
	s.live = false
	for i := range s.queues {
		s.queues[i].resumed = s.queues[i].configured()
	}
	return nil
}
