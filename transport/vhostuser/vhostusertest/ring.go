package vhostusertest

import (
	"errors"
	"fmt"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// Buffer is one piece of a request.
type Buffer struct {
	Addr  uint64 // in the guest
	Len   uint32
	Write bool // for the device to write
}

// Readable is a buffer for the device to read.
func Readable(addr uint64, n uint32) Buffer { return Buffer{Addr: addr, Len: n} }

// Writable is a buffer for the device to write.
func Writable(addr uint64, n uint32) Buffer { return Buffer{Addr: addr, Len: n, Write: true} }

// Elem is a chain that the device gave back.
type Elem struct {
	Head uint16
	Len  uint32 // bytes that the device says it wrote
}

// Ring is the driver's side of a split virtqueue (2.7) of a driver that does nothing wrong and
// trusts nothing: it remembers each chain in flight. One goroutine at a time may use it.
type Ring struct {
	vring.Layout
	EventIdx bool // notifications go by event indexes (2.7.7, 2.7.10)
	Indirect bool // chains lie in indirect tables (2.7.5.3)

	m                 *Memory
	desc, avail, used shmem.Span
	tables            []uint64 // guest address of the indirect table of each head
	free              []uint16 // descriptors, the one to use next first
	flying            map[uint16][]uint16
	offered           uint16 // available index as stored
	announced         uint16 // available index at the last NeedKick
	taken             uint16 // used index up to which Used got
	quiet             bool   // calls are not wanted
	fence             shmem.Fence
}

// maxIndirect is how many buffers an indirect table has room for.
const maxIndirect = 8

// NewRing lays a ring out, each of its parts and tables in the next Region of the Memory.
func NewRing(m *Memory, size uint16, eventIdx, indirect bool) *Ring {
	l := vring.Layout{Size: size}
	l.Desc = m.Alloc(l.DescBytes(), 16)
	l.Avail = m.Alloc(l.AvailBytes(), 4)
	l.Used = m.Alloc(l.UsedBytes(), 4)
	r := &Ring{
		Layout: l, EventIdx: eventIdx, Indirect: indirect, m: m,
		desc: m.Span(l.Desc, l.DescBytes()), avail: m.Span(l.Avail, l.AvailBytes()), used: m.Span(l.Used, l.UsedBytes()),
	}
	if indirect {
		for range size {
			r.tables = append(r.tables, m.Alloc(16*maxIndirect, 1))
		}
	}
	r.Reset()
	return r
}

// Reset is what a driver does to a ring before it enables it for the first time or after a
// reset: everything zero, nothing in flight.
func (r *Ring) Reset() { r.ResetAt(0) }

// ResetAt is Reset with indexes that begin at start: a ring that has been in use for long.
func (r *Ring) ResetAt(start uint16) {
	r.desc.Zero(0, r.desc.Len())
	r.avail.Zero(0, r.avail.Len())
	r.used.Zero(0, r.used.Len())
	r.flying = make(map[uint16][]uint16)
	r.free = r.free[:0]
	for i := range r.Size {
		r.free = append(r.free, i)
	}
	r.offered, r.announced, r.taken, r.quiet = start, start, start, false
	r.storeAvail()
	r.GiveBack(start)
}

// GiveBack does what a device does: it puts chains into the used ring, with length 0, at the
// slots before the used index idx, and stores that.
func (r *Ring) GiveBack(idx uint16, heads ...uint16) {
	for i, head := range heads {
		slot := 4 + 8*uint64((idx-uint16(len(heads)-i))&(r.Size-1))
		r.used.Store32(slot, uint32(head))
		r.used.Store32(slot+4, 0)
	}
	r.used.Store16Plain(2, idx)
}

// ErrFull says that there are not enough free descriptors.
var ErrFull = errors.New("the ring is full")

// Offer makes one chain available and returns its head. Descriptors are used in the order in
// which they became free.
func (r *Ring) Offer(bufs ...Buffer) (head uint16, err error) {
	n := len(bufs)
	if r.Indirect {
		n = 1
	}
	if len(r.free) < n {
		return 0, ErrFull
	}
	chain := append([]uint16(nil), r.free[:n]...)
	r.free = append(r.free[:0], r.free[n:]...)
	head = chain[0]
	if r.Indirect {
		table := r.m.Span(r.tables[head], 16*uint64(len(bufs)))
		for i, b := range bufs {
			b.store(table, uint16(i), i+1 < len(bufs), uint16(i+1))
		}
		store(r.desc, head, r.tables[head], uint32(16*len(bufs)), vring.DescIndirect, 0)
	} else {
		for i, b := range bufs {
			more := i+1 < len(bufs)
			b.store(r.desc, chain[i], more, chain[(i+1)%n])
		}
	}
	r.flying[head] = chain
	r.avail.Store16Plain(4+2*uint64(r.offered&(r.Size-1)), head)
	r.offered++
	r.storeAvail()
	return head, nil
}

func (b Buffer) store(table shmem.Span, i uint16, more bool, next uint16) {
	var flags uint16
	if more {
		flags |= vring.DescNext
	}
	if b.Write {
		flags |= vring.DescWrite
	}
	store(table, i, b.Addr, b.Len, flags, next)
}

// store writes one descriptor (2.7.5). Indirect tables lie at any address.
func store(table shmem.Span, i uint16, addr uint64, n uint32, flags, next uint16) {
	p := u64s(addr)
	p = order.AppendUint32(p, n)
	p = order.AppendUint16(p, flags)
	p = order.AppendUint16(p, next)
	table.WriteAt(p, 16*uint64(i))
}

// storeAvail stores flags and index as one word: both are the driver's, and the store releases
// what was stored before it (2.7.13).
func (r *Ring) storeAvail() {
	word := uint32(r.offered) << 16
	if r.quiet && !r.EventIdx {
		word |= vring.AvailNoInterrupt
	}
	r.avail.Store32(0, word)
}

// Flying is how many chains are in flight, and InFlight whether one of them has that head.
func (r *Ring) Flying() int { return len(r.flying) }

// InFlight reports whether the chain with that head was offered and has not come back.
func (r *Ring) InFlight(head uint16) bool { return r.flying[head] != nil }

// Offered and Taken are the two indexes as the driver knows them.
func (r *Ring) Offered() uint16 { return r.offered }

// Taken is the used index up to which Used has gone.
func (r *Ring) Taken() uint16 { return r.taken }

// UsedIdx is the used index as it stands in the ring.
func (r *Ring) UsedIdx() uint16 { return r.used.Load16(2) }

// NeedKick reports whether the device wants a kick for what was offered since the last call
// (2.7.10.1).
func (r *Ring) NeedKick() bool {
	old := r.announced
	r.announced = r.offered
	if r.EventIdx {
		return vring.NeedEvent(r.used.Load16(4+8*uint64(r.Size)), r.offered, old)
	}
	return r.used.Load16(0)&vring.UsedNoNotify == 0
}

// Used takes the next chain that the device gave back; ok is false when there is none. It is an
// error if the used index has passed what was offered, and if the head was not in flight: never
// offered, or given back before.
func (r *Ring) Used() (e Elem, ok bool, err error) {
	idx := r.used.Load16(2)
	if idx == r.taken {
		return e, false, nil
	}
	if idx-r.taken > r.offered-r.taken {
		return e, false, fmt.Errorf("used index %d with %d offered and %d taken", idx, r.offered, r.taken)
	}
	slot := 4 + 8*uint64(r.taken&(r.Size-1))
	id := r.used.Load32(slot)
	e = Elem{Head: uint16(id), Len: r.used.Load32(slot + 4)}
	chain := r.flying[e.Head]
	if id > 0xffff || chain == nil {
		return e, false, fmt.Errorf("used entry %d is head %d, which is not in flight", r.taken, id)
	}
	delete(r.flying, e.Head)
	r.free = append(r.free, chain...)
	r.taken++
	return e, true, nil
}

// Arm asks for a call at the next chain that the device gives back, and reports whether one is
// there already (2.7.7).
func (r *Ring) Arm() (pending bool) {
	r.quiet = false
	if r.EventIdx {
		r.avail.Store16Plain(4+2*uint64(r.Size), r.taken)
		r.fence.StoreLoad()
	} else {
		r.storeAvail()
	}
	return r.UsedIdx() != r.taken
}

// Disarm says that calls are not wanted.
func (r *Ring) Disarm() {
	r.quiet = true
	if r.EventIdx {
		r.avail.Store16Plain(4+2*uint64(r.Size), r.taken-1)
	} else {
		r.storeAvail()
	}
}
