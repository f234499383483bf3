package mmio

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// sentinel is what the device leaves in GuestPageSize and QueueAlign. Every deployed driver
// stores the first at each boot and the second before each QueuePFN, and reads neither: a
// value there is news (the package comment, "Two canaries").
const sentinel = 0

// slot is one device behind its header. The fields are the scan's alone unless they say
// otherwise.
type slot struct {
	bus    *Bus
	name   string
	dev    *virtio.Device
	place  Place
	regs   shmem.Span
	numMax uint16 // the one value of QueueNumMax: the smallest maximum of all queues

	// The session.
	open    bool   // a session is open: the canary is armed
	live    bool   // the device serves it
	stale   bool   // DRIVER_OK stood before the first acknowledgement: it says nothing yet
	page    uint32 // GuestPageSize of the session, latched when it opened
	queues  []ring
	last    request // acknowledged last, in this session or the one before
	acked   bool    // last holds something
	guessed bool    // opened for a request that nothing but time proved
	crossed bool    // one of its acknowledgements crossed a reboot
	adopted bool    // taken over from a monitor that died, which may owe an interrupt

	// What is suspected.
	canary  bool    // the driver is known to store GuestPageSize, and so QueueAlign
	doubted *doubt  // a session that was ended because of a neighbour and may live
	barred  bool    // a front-end that was found live and cannot be taken over: it has to restart
	suspect bool    // an ack may have hit a rebooted driver unseen,
	former  []ring  // whose queues were these before
	refused request // reported already
	stands  request // a request that nothing around it proves,
	since   time.Time
	again   *time.Timer

	// The configuration space.
	generation      uint32
	config, scratch []byte // as published, and room for a look
	writable        bool   // by the driver

	// Of any goroutine.
	fell     atomic.Bool   // a look of this life found the canary gone
	dirty    atomic.Bool   // the configuration is to be published anew
	status   atomic.Uint32 // as last read, for Stats
	refusals atomic.Uint64
	restarts atomic.Uint64
	irq      interrupts
	talk     chatter
}

// request is what a driver asks to be acknowledged.
type request struct{ pfn, sel, num uint32 }

// ring is a queue as the scan configured it.
type ring struct {
	request
	vring.Layout
	align   uint32
	start   uint16 // index of the first entry: not 0 after an attach
	end     uint64 // first address behind it
	resumed bool   // goes on where its used ring says
}

func (r ring) configured() bool { return r.pfn != 0 }

// meets reports whether the ring touches [start, end).
func (r ring) meets(start, end uint64) bool { return start < r.end && r.Desc < end }

func (s *slot) load(reg uint64) uint32     { return s.regs.Load32(reg) }
func (s *slot) store(reg uint64, v uint32) { s.regs.Store32(reg, v) }

// standing is the look before every access to ring memory: has the driver booted again? A no is
// final for the queue that asked, so the scan has to believe it too, whatever it reads itself.
func (s *slot) standing() bool {
	ok := s.load(RegGuestPageSize) == sentinel
	if !ok {
		s.fell.Store(true)
	}
	s.bus.at(pointMemory, s)
	return ok
}

// Wake makes the bus look again (virtio.Transport).
func (s *slot) Wake() { s.bus.wake() }

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
		s.say(slog.LevelWarn, "doorbell failed", "err", err)
	}
}

// later has the bus look again after a while.
func (s *slot) later(d time.Duration) {
	if s.again == nil {
		s.again = time.AfterFunc(d, s.Wake)
		return
	}
	s.again.Reset(d)
}
