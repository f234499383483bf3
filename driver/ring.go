package driver

import (
	"fmt"
	"math"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// Segment is one buffer of a chain, at an address that the device understands.
type Segment struct {
	Addr  uint64
	Len   uint32
	Write bool // the device writes it; such segments come after all others of their chain
}

// Ring is the driver side of a split virtqueue (2.7), bare: no lock, no buffers, no doorbell.
// One goroutine at a time. Nothing of it is ever read back from memory that the device can
// write but the two used indices and the used elements, and those are checked. No method
// allocates, waits, or follows a link in shared memory.
type Ring struct {
	desc  shmem.Span
	avail shmem.Span
	used  shmem.Span
	size  uint16
	mask  uint16
	index int

	eventIdx bool

	next   []uint16 // by descriptor: the next one of its chain or of the free list
	chains []chain  // by head
	free   uint16   // first free descriptor
	room   int      // free descriptors
	flying int      // chains outstanding
	added  uint16   // available index up to the last Add
	shown  uint16   // available index as last stored
	taken  uint16   // used index of the next element to take
	flags  uint16   // avail.flags for the next store
	broken error
	fence  shmem.Fence
}

// chain is what is kept of an outstanding chain.
type chain struct {
	descriptors uint16 // 0: not outstanding
	writable    uint32 // bytes
}

// Offsets in both rings: le16 flags, le16 idx, entries (2.7.6, 2.7.8).
const (
	offIdx  = 2
	offRing = 4
)

// NewRing makes the driver side of a ring at rest. It does not touch the memory. All of the
// available ring must be aligned to 4 bytes, as every legacy layout has it. index is the queue's
// number, for errors; eventIdx says that EVENT_IDX was negotiated (2.7.10).
func NewRing(space *shmem.Space, l vring.Layout, index int, eventIdx bool) (*Ring, error) {
	if !vring.ValidSize(uint32(l.Size)) {
		return nil, fmt.Errorf("queue %d: size %d is not a power of two up to %d", index, l.Size, vring.MaxSize)
	}
	n := uint64(l.Size)
	r := &Ring{size: l.Size, mask: l.Size - 1, index: index, eventIdx: eventIdx}
	for _, p := range []struct {
		addr, n, align uint64
		span           *shmem.Span
	}{
		{l.Desc, 16 * n, 16, &r.desc},
		{l.Avail, 6 + 2*n, 4, &r.avail},
		{l.Used, 6 + 8*n, 4, &r.used},
	} {
		span, err := space.Span(p.addr, p.n)
		if err != nil {
			return nil, fmt.Errorf("queue %d: %w", index, err)
		}
		if p.addr%p.align != 0 || !span.Aligned(min(p.align, 8)) {
			return nil, fmt.Errorf("queue %d: %#x is not aligned to %d", index, p.addr, p.align)
		}
		*p.span = span
	}
	r.next = make([]uint16, n)
	r.chains = make([]chain, n)
	for i := range r.next {
		r.next[i] = uint16(i) + 1
	}
	r.room = int(n)
	return r, nil
}

// Zero clears the memory of all three parts. Only before the device knows the ring.
func (r *Ring) Zero() {
	for _, s := range []shmem.Span{r.desc, r.avail, r.used} {
		s.Zero(0, s.Len())
	}
}

// Size is the number of descriptors.
func (r *Ring) Size() int { return int(r.size) }

// Room is the number of free descriptors.
func (r *Ring) Room() int { return r.room }

// Outstanding is the number of chains added and not yet given back by Get.
func (r *Ring) Outstanding() int { return r.flying }

// Broken is the *RingError that ended the ring, or nil.
func (r *Ring) Broken() error { return r.broken }

// Add puts a chain into the descriptor table and the available ring; the device sees it at the
// next Publish. head names the chain until Get returns it. The error is ErrFull, ErrTooLong,
// ErrEmpty or what broke the ring, and then nothing was changed.
func (r *Ring) Add(segments []Segment) (head uint16, err error) {
	switch {
	case r.broken != nil:
		return 0, r.broken
	case len(segments) == 0:
		return 0, ErrEmpty
	case len(segments) > int(r.size):
		return 0, ErrTooLong
	case len(segments) > r.room:
		return 0, ErrFull
	}
	var total, writable uint64
	for i, s := range segments {
		if s.Write {
			writable += uint64(s.Len)
		} else if i > 0 && segments[i-1].Write {
			return 0, fmt.Errorf("segment %d is for the device to read, and stands behind one for it to write", i)
		}
		total += uint64(s.Len)
	}
	if total > math.MaxUint32 {
		return 0, ErrTooLong
	}

	head = r.free
	d := head
	for i, s := range segments {
		var flags uint64
		if s.Write {
			flags = vring.DescWrite
		}
		var next uint16
		if i < len(segments)-1 {
			flags |= vring.DescNext
			next = r.next[d]
		}
		off := 16 * uint64(d)
		r.desc.Store64Plain(off, s.Addr)
		r.desc.Store64Plain(off+8, uint64(s.Len)|flags<<32|uint64(next)<<48)
		d = r.next[d]
	}
	r.free = d
	r.room -= len(segments)
	r.chains[head] = chain{uint16(len(segments)), uint32(writable)}
	r.flying++
	r.avail.Store16Plain(offRing+2*uint64(r.added&r.mask), head)
	r.added++
	return head, nil
}

// Publish makes the added chains visible with one store (2.7.13) and says whether the device
// wants to be told (2.7.7, 2.7.10).
func (r *Ring) Publish() (kick bool) {
	old := r.shown
	r.shown = r.added
	r.storeAvail()
	if r.shown == old {
		return false
	}
	// The store above and the loads below are sequentially consistent: the full barrier between
	// publishing and reading what the device wants (2.7.13.4). Without it a device going to
	// sleep and this side miss each other.
	if r.eventIdx {
		return vring.NeedEvent(r.used.Load16(offRing+8*uint64(r.size)), r.shown, old)
	}
	return r.used.Load16(0)&vring.UsedNoNotify == 0
}

// storeAvail stores flags and index as one word: both are the driver's, and the one store
// releases everything before it.
func (r *Ring) storeAvail() { r.avail.Store32(0, uint32(r.flags)|uint32(r.shown)<<16) }

// Arm asks for an interrupt at the next used chain and looks once more: pending means that
// there is one already, so that the caller must not sleep (2.7.7).
func (r *Ring) Arm() (pending bool) {
	r.want()
	if r.eventIdx {
		r.fence.StoreLoad()
	} else {
		r.storeAvail()
	}
	// Ordered behind the store, or a chain used in between would find no interrupt wanted and
	// this side asleep.
	return r.used.Load16(offIdx) != r.taken
}

// want is Arm that takes effect with the next Publish.
func (r *Ring) want() {
	r.flags = 0
	if r.eventIdx {
		r.avail.Store16Plain(offRing+2*uint64(r.size), r.taken)
	}
}

// Disarm says, from the next Publish on, that interrupts are not needed (2.7.7). With
// EVENT_IDX the index of the last Arm, soon behind, says the same.
func (r *Ring) Disarm() {
	if !r.eventIdx {
		r.flags = vring.AvailNoInterrupt
	}
}

// Get takes the next used chain and the number of bytes the device says it wrote. ok is false
// when there is none. With ok an error wraps ErrUsedLength: the chain is over, but n, then 0,
// was more than it has room for. Without ok an error is final.
func (r *Ring) Get() (head uint16, n uint32, ok bool, err error) {
	if r.broken != nil {
		return 0, 0, false, r.broken
	}
	pending := r.used.Load16(offIdx) - r.taken
	if pending == 0 {
		return 0, 0, false, nil
	}
	if int(pending) > r.flying {
		return 0, 0, false, r.fault(-1, ErrUsedIndex)
	}
	slot := offRing + 8*uint64(r.taken&r.mask)
	id := r.used.Load32(slot)
	n = r.used.Load32(slot + 4)
	if id >= uint32(r.size) || r.chains[id].descriptors == 0 {
		return 0, 0, false, r.fault(int(id), ErrUsedID)
	}
	head = uint16(id)
	c := r.chains[head]
	r.chains[head] = chain{}
	last := head
	for range c.descriptors - 1 {
		last = r.next[last]
	}
	r.next[last], r.free = r.free, head
	r.room += int(c.descriptors)
	r.flying--
	r.taken++
	if n > c.writable {
		return head, 0, true, &RingError{Queue: r.index, Head: int(head), Err: ErrUsedLength}
	}
	return head, n, true, nil
}

func (r *Ring) fault(head int, err error) error {
	r.broken = &RingError{Queue: r.index, Head: head, Err: err}
	return r.broken
}
