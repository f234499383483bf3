package vring

import (
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/hypervisorless/virtio/shmem"
)

// Config is the geometry of a queue and how it behaves, latched by New.
type Config struct {
	Layout
	Index    int  // queue index, for errors
	EventIdx bool // EVENT_IDX was negotiated (2.7.10)
	Indirect bool // INDIRECT_DESC was negotiated (2.7.5.3)
	// Patient makes an available index that jumped by more than the queue size look like an
	// empty queue instead of breaking the ring: where nothing else announces a reset, it is
	// what the ring of a rebooting driver looks like.
	Patient bool
	// Start is the index of the first entry to return and, behind those of Redo, to take: 0 for a
	// fresh ring.
	Start uint16
	// Redo holds the heads, at most Size, that a predecessor took and never returned. Pop gives
	// them first, in this order.
	Redo    []uint16
	Journal Journal // nil: nobody wants to know what is in flight
	Gate    *Gate   // nil: nobody ends the queue while it is used
}

// Queue is the device side of a split virtqueue. One goroutine owns it: no method may run
// concurrently with another one, but Available, which anybody may call. The Chains may be read
// and written by others until they are pushed.
//
// No method allocates once every Chain has met its longest chain, none does I/O or waits for
// the driver.
type Queue struct {
	space *shmem.Space
	desc  shmem.Span
	avail shmem.Span
	used  shmem.Span
	size  uint16
	mask  uint16
	index int

	eventIdx, indirect, patient bool
	free                        bool // no gate and no fault possible: nothing to guard

	start     uint16 // available index of the first chain
	next      uint16 // available index of the next chain to take
	redo      []uint16
	redone    bool   // one of them was taken
	seen      uint16 // available index as last read
	published uint16 // used index as last published
	signalled uint16 // used index up to which notification was decided
	flags     uint16 // used.flags for the next store
	stored    uint16 // used.flags as last stored
	pending   []element
	owed      bool   // a notification was due at a publish that Push had to do
	walked    uint64 // descriptors read so far
	broken    error
	gate      *Gate
	journal   Journal
	fence     shmem.Fence
}

// element is one used ring entry, kept private until Publish: the driver polls the cache line.
type element struct{ id, len uint32 }

// maxPending bounds the completions held back; more than this is published early.
const maxPending = 256

// unknown is no value of used.flags: the first Arm stores them, whatever is in the memory.
const unknown = 0xffff

// New checks the geometry as the device must at enable (2.7) and makes the queue. It does not
// touch the rings. The error is a *RingError.
func New(space *shmem.Space, c Config) (*Queue, error) {
	q := &Queue{
		space: space, size: c.Size, mask: c.Size - 1, index: c.Index,
		eventIdx: c.EventIdx, indirect: c.Indirect, patient: c.Patient,
		published: c.Start, signalled: c.Start, stored: unknown, redo: slices.Clone(c.Redo),
		gate: c.Gate, journal: c.Journal, free: c.Gate == nil && c.Journal == nil && space.Sealed(),
	}
	q.start = c.Start + uint16(len(c.Redo))
	q.next, q.seen = q.start, q.start
	if q.gate == nil {
		q.gate = NewGate(nil, nil)
	}
	fail := func(err error) (*Queue, error) {
		return nil, &RingError{Queue: c.Index, Head: -1, Err: err}
	}
	if !ValidSize(uint32(c.Size)) {
		return fail(fmt.Errorf("size %d: %w", c.Size, ErrSize))
	}
	if len(c.Redo) > int(c.Size) || slices.ContainsFunc(c.Redo, func(h uint16) bool { return h >= c.Size }) {
		return fail(fmt.Errorf("%d heads to do again: %w", len(c.Redo), ErrHead))
	}
	parts := [3]struct {
		name    string
		addr, n uint64
		align   uint64
		span    *shmem.Span
	}{
		{"descriptor table", c.Desc, c.DescBytes(), 16, &q.desc},
		{"available ring", c.Avail, c.AvailBytes(), 2, &q.avail},
		{"used ring", c.Used, c.UsedBytes(), 4, &q.used},
	}
	for i, p := range parts {
		if p.addr%p.align != 0 {
			return fail(fmt.Errorf("%s at %#x: %w", p.name, p.addr, ErrAlign))
		}
		span, err := space.Span(p.addr, p.n)
		if err != nil {
			return fail(fmt.Errorf("%s: %w: %w", p.name, ErrAddress, err))
		}
		*p.span = span
		for _, o := range parts[:i] {
			// Differences, since the sums may wrap at the top of the address space.
			if p.addr-o.addr < o.n || o.addr-p.addr < p.n {
				return fail(fmt.Errorf("%s and %s: %w", o.name, p.name, ErrOverlap))
			}
		}
	}
	q.pending = make([]element, 0, min(int(c.Size), maxPending))
	return q, nil
}

// Size is the number of entries.
func (q *Queue) Size() int { return int(q.size) }

// Broken is the *RingError or *shmem.FaultError that stopped the queue, or nil. The rings of a
// broken queue are left alone; only a new Queue on a reset ring helps.
func (q *Queue) Broken() error { return q.broken }

// Walked is how many descriptors have been read so far, those of refused chains and the ones
// that name an indirect table included: what a drain costs, and so what to bound it by. A
// single Pop adds Size()+2 at most.
func (q *Queue) Walked() uint64 { return q.walked }

// leave is deferred around every guarded access: it ends the guard, turns a fault into an
// error, and passes the gate.
func (q *Queue) leave(before bool, err *error) {
	debug.SetPanicOnFault(before)
	r := recover()
	q.gate.leave()
	if r != nil {
		*err = shmem.Caught(r)
	}
}

// latch is leave for the owner of the queue, to whom a vanished mapping is final.
func (q *Queue) latch(before bool, err *error) {
	debug.SetPanicOnFault(before)
	r := recover()
	q.gate.leave()
	if r != nil {
		q.broken = shmem.Caught(r)
		*err = q.broken
	}
}

// Available reads the driver's available index. Safe for concurrent use with the owner.
func (q *Queue) Available() (idx uint16, err error) {
	if !q.gate.admit() {
		return 0, ErrShut
	}
	defer q.leave(shmem.Guard(), &err)
	return q.avail.Load16(offIdx), nil
}

// Position is the available index of the next chain to take. Not while the owner may be in Pop:
// hold the Gate, or shut it.
func (q *Queue) Position() uint16 { return q.next }

// Published is the used index as last stored: everything before it is the driver's again. Not
// while the owner may be in a call: hold the Gate, or shut it.
func (q *Queue) Published() uint16 { return q.published }

// Untouched reports whether no chain was ever taken. Not while the owner may be in Pop: hold
// the Gate.
func (q *Queue) Untouched() bool { return q.next == q.start && !q.redone }
