package vring

import "math/bits"

// MaxSize is the largest queue size a split virtqueue can have (2.7).
const MaxSize = 32768

// Layout places the three parts of a split virtqueue in the driver's address space (2.7).
type Layout struct {
	Size  uint16 // entries, a power of two
	Desc  uint64 // descriptor table, 16·Size bytes, aligned to 16
	Avail uint64 // driver area, 6+2·Size bytes, aligned to 2
	Used  uint64 // device area, 6+8·Size bytes, aligned to 4
}

// Legacy is the contiguous layout of a version 1 device (2.7.2): table, driver area, padding
// to align, device area. align is a power of two.
func Legacy(base uint64, size uint16, align uint32) Layout {
	l := Layout{Size: size, Desc: base}
	l.Avail = base + l.DescBytes()
	l.Used = base + alignUp(l.DescBytes()+l.AvailBytes(), uint64(align))
	return l
}

// LegacyBytes is the length of the whole contiguous ring that Legacy lays out.
func LegacyBytes(size uint16, align uint32) uint64 {
	l := Legacy(0, size, align)
	return l.Used + l.UsedBytes()
}

// DescBytes is the length of the descriptor table.
func (l Layout) DescBytes() uint64 { return 16 * uint64(l.Size) }

// AvailBytes is the length of the driver area, used_event included.
func (l Layout) AvailBytes() uint64 { return 6 + 2*uint64(l.Size) }

// UsedBytes is the length of the device area, avail_event included.
func (l Layout) UsedBytes() uint64 { return 6 + 8*uint64(l.Size) }

func alignUp(v, align uint64) uint64 { return (v + align - 1) &^ (align - 1) }

// ValidSize reports whether n is a legal queue size: a power of two up to MaxSize.
func ValidSize(n uint32) bool { return n <= MaxSize && bits.OnesCount32(n) == 1 }

// Offsets and flags of the three parts (2.7.5, 2.7.6, 2.7.8), shared with the driver side.
const (
	DescNext     = 1 // the chain goes on at the next field
	DescWrite    = 2 // device-writable
	DescIndirect = 4 // the buffer holds a table of descriptors

	AvailNoInterrupt = 1 // avail.flags: do not notify me
	UsedNoNotify     = 1 // used.flags: do not kick me

	offIdx  = 2 // both rings: le16 flags, le16 idx, entries
	offRing = 4
)

// NeedEvent is the notification rule of EVENT_IDX (2.7.7.2): whether moving an index from old
// to new passes the index event.
func NeedEvent(event, new, old uint16) bool { return new-event-1 < new-old }
