package hvl2

// DirectoryOff is where the directory of a window lies: the place of the eighth header of a
// legacy window, and past the device tree of one that has that.
const DirectoryOff = 0xE00

// The directory, offsets from its start. Its words are the device's and constant while its
// magic is set.
const (
	DirMagic       = 0x00 // Ident; stored last
	DirVersion     = 0x04 // Version
	DirHeaderSize  = 0x08 // bytes up to the reserved words' end: 64
	DirLayoutEpoch = 0x0c // not 0; another one: the directory was written anew
	DirWindowSize  = 0x10 // 64 bits
	DirEntryOff    = 0x18 // from the start of the window
	DirEntryCount  = 0x1c // at most MaxEntries
	DirEntryStride = 0x20 // bytes: 32
	DirRequired    = 0x24
	DirOptional    = 0x28
	DirToDevice    = 0x2c // doorbell hints, see Hint
	DirToDriver    = 0x30
)

// An entry of the directory, offsets from its start.
const (
	EntryDeviceID = 0x00 // 0: a hole
	EntryFlags    = 0x04 // EntryLegacy
	EntrySlotOff  = 0x08 // from the start of the window
	EntrySlotSize = 0x0c // bytes, at least PageSize
	EntryMemOff   = 0x10 // in pages, from the start of the window
	EntryMemSize  = 0x14 // in pages
	EntryInstance = 0x18 // the n-th device of its type, from 0
	EntryToDriver = 0x1c // doorbell hint of this slot; 0: the window's
)

// Values of the directory.
const (
	DirSize     = 64
	EntryStride = 32
	MaxEntries  = 64
	EntryLegacy = 1 << 0 // a version 1 header: of the entry only DeviceID and SlotOff count
)

// Hint says how to ring: a doorbell hint of the directory.
func Hint(kind HintKind, parameter uint32) uint32 {
	return uint32(kind)<<hintShift | parameter&(1<<hintShift-1)
}

const hintShift = 24

// HintKind is the kind of a doorbell.
type HintKind uint8

// The kinds of doorbells, with what their parameter is.
const (
	HintPlatform  HintKind = 0 // the platform knows
	HintIPI       HintKind = 1 // channel of an IPI or mailbox
	HintInterrupt HintKind = 2 // interrupt number
	HintIVShmem   HintKind = 3 // ivshmem vector
	HintStream    HintKind = 4 // stream socket or eventfd
	HintNone      HintKind = 5 // poll
)

// Directory is what a front-end finds in a window of which it knows no more than the start.
type Directory struct {
	WindowSize         uint64
	ToDevice, ToDriver uint32 // doorbell hints
	Entries            []Entry
}

// Entry is one device of a Directory. Offsets are from the start of the window.
type Entry struct {
	DeviceID uint32
	Legacy   bool // a version 1 header at SlotOff: what follows does not count
	SlotOff  uint64
	SlotSize uint64
	MemOff   uint64
	MemSize  uint64
	Instance uint32
	ToDriver uint32 // doorbell hint of this slot; 0: the window's
}
