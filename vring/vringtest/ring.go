package vringtest

import (
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// Elem is one entry of the used ring (2.7.8).
type Elem struct{ ID, Len uint32 }

// Ring is the driver's side of one split virtqueue.
type Ring struct {
	vring.Layout

	m                 *Memory
	desc, avail, used shmem.Span
	next              uint16 // available index as last stored
	kicked            uint16 // available index at the last NeedKick
	taken             uint16 // used index up to which Used has gone
	fence             shmem.Fence
}

// Legacy takes room for a ring of the contiguous legacy layout from the heap (2.7.2).
func (m *Memory) Legacy(size uint16, align uint32) vring.Layout {
	return vring.Legacy(m.Alloc(vring.LegacyBytes(size, align), uint64(align)), size, align)
}

// Modern takes room for a ring in three pieces from the heap, each at the smallest alignment
// that is legal: the driver area at 2 modulo 4, the device area at 4 modulo 8 (2.7).
func (m *Memory) Modern(size uint16) vring.Layout {
	l := vring.Layout{Size: size}
	l.Used = m.Alloc(4+l.UsedBytes(), 8) + 4
	l.Avail = m.Alloc(2+l.AvailBytes(), 4) + 2
	l.Desc = m.Alloc(l.DescBytes(), 16)
	return l
}

// NewRing is a ring at the given place, zeroed as a driver has to before it enables the queue
// (2.7.10.1).
func (m *Memory) NewRing(l vring.Layout) *Ring {
	r := &Ring{
		Layout: l, m: m,
		desc:  m.Span(l.Desc, l.DescBytes()),
		avail: m.Span(l.Avail, l.AvailBytes()),
		used:  m.Span(l.Used, l.UsedBytes()),
	}
	r.Reset(0)
	return r
}

// Reset zeroes the ring, as a driver does that has reset the device, and starts both indexes
// at start instead of 0.
func (r *Ring) Reset(start uint16) {
	r.desc.Zero(0, r.desc.Len())
	r.avail.Zero(0, r.avail.Len())
	r.used.Zero(0, r.used.Len())
	r.taken, r.kicked = start, start
	r.SetUsedIdx(start)
	r.SetAvailIdx(start)
}

// UsedRange is the device area: the one piece of a ring that a device may write.
func (r *Ring) UsedRange() Range { return Range{r.Layout.Used, r.UsedBytes()} }

// Put stores one descriptor of the table.
func (r *Ring) Put(i uint16, d Desc) { r.desc.WriteAt(encode([]Desc{d}), 16*uint64(i)) }

// Get reads one descriptor of the table.
func (r *Ring) Get(i uint16) Desc {
	var p [16]byte
	r.desc.ReadAt(p[:], 16*uint64(i))
	return decode(p[:])
}

// Chain puts the descriptors into the entries from head on, around the end of the table, and
// chains them one after the other. It does not make them available.
func (r *Ring) Chain(head uint16, d ...Desc) {
	for i, d := range link(int(head), int(r.Size), d) {
		r.Put(uint16((int(head)+i)%int(r.Size)), d)
	}
}

// Offer makes chains available, in this order and with one store of the index (2.7.13).
func (r *Ring) Offer(heads ...uint16) {
	for i, head := range heads {
		r.SetAvail(r.next+uint16(i), head)
	}
	r.SetAvailIdx(r.next + uint16(len(heads)))
}

// SetAvail stores one entry of the available ring, at the slot of index i.
func (r *Ring) SetAvail(i, head uint16) {
	r.avail.Store16Plain(4+2*uint64(i&(r.Size-1)), head)
}

// AvailIdx is the available index as last stored.
func (r *Ring) AvailIdx() uint16 { return r.next }

// SetAvailIdx stores the available index, whatever it is, after everything stored before.
func (r *Ring) SetAvailIdx(idx uint16) {
	r.next = idx
	// Only a 32-bit store can be a releasing one, and both neighbours are the driver's own.
	if r.avail.Aligned(4) {
		r.avail.Store32(0, uint32(r.avail.Load16Plain(0))|uint32(idx)<<16)
	} else {
		r.avail.Store32(2, uint32(idx)|uint32(r.avail.Load16Plain(4))<<16)
	}
}

// SetAvailFlags stores the flags of the available ring, before anything loaded afterwards.
func (r *Ring) SetAvailFlags(flags uint16) {
	r.avail.Store16Plain(0, flags)
	r.fence.StoreLoad()
}

// SetUsedEvent stores used_event, before anything loaded afterwards.
func (r *Ring) SetUsedEvent(idx uint16) {
	r.avail.Store16Plain(4+2*uint64(r.Size), idx)
	r.fence.StoreLoad()
}

// UsedFlags is the flags word of the used ring.
func (r *Ring) UsedFlags() uint16 { return r.used.Load16(0) }

// UsedIdx is the used index.
func (r *Ring) UsedIdx() uint16 { return r.used.Load16(2) }

// SetUsedIdx stores the used index, which is the device's to write.
func (r *Ring) SetUsedIdx(idx uint16) { r.used.Store16Plain(2, idx) }

// AvailEvent is the available index at which the device wants a kick, with EVENT_IDX.
func (r *Ring) AvailEvent() uint16 { return r.used.Load16(4 + 8*uint64(r.Size)) }

// UsedElem is the entry of the used ring at the slot of index i.
func (r *Ring) UsedElem(i uint16) Elem {
	slot := 4 + 8*uint64(i&(r.Size-1))
	return Elem{r.used.Load32(slot), r.used.Load32(slot + 4)}
}

// Used takes the next entry that the device has published. ok is false when there is none.
func (r *Ring) Used() (e Elem, ok bool) {
	if r.UsedIdx() == r.taken {
		return Elem{}, false
	}
	e = r.UsedElem(r.taken)
	r.taken++
	return e, true
}

// NeedKick reports whether the device wants a kick for what was offered since the last call
// (2.7.10.1).
func (r *Ring) NeedKick(eventIdx bool) bool {
	old := r.kicked
	r.kicked = r.next
	if eventIdx {
		return vring.NeedEvent(r.AvailEvent(), r.next, old)
	}
	return r.UsedFlags()&vring.UsedNoNotify == 0
}
