package hvl2

import (
	"fmt"

	"github.com/hypervisorless/virtio/shmem"
)

// Publish writes the directory into a window, magic last. One that stands there already and
// says the same is left alone: a front-end may be reading it.
func (d Directory) Publish(window shmem.Span) error {
	if len(d.Entries) > MaxEntries {
		return fmt.Errorf("hvl2: %d devices, and a directory has room for %d", len(d.Entries), MaxEntries)
	}
	words := d.words()
	dir, err := directorySpan(window, uint64(4*len(words)))
	if err != nil {
		return err
	}
	if d.stands(dir, words) {
		return nil
	}
	dir.Store32(DirMagic, 0)
	epoch := dir.Load32(DirLayoutEpoch) + 1
	if epoch == 0 {
		epoch++
	}
	words[DirLayoutEpoch/4] = epoch
	for i, word := range words {
		if i != DirMagic/4 {
			dir.Store32(4*uint64(i), word)
		}
	}
	dir.Store32(DirMagic, Ident)
	return nil
}

// Withdraw takes the directory away.
func Withdraw(window shmem.Span) error {
	dir, err := directorySpan(window, DirSize)
	if err == nil {
		dir.Store32(DirMagic, 0)
	}
	return err
}

func directorySpan(window shmem.Span, n uint64) (shmem.Span, error) {
	if window.Len() < DirectoryOff+n {
		return shmem.Span{}, fmt.Errorf("hvl2: a directory of %d bytes at %#x does not fit a window of %#x bytes", n, DirectoryOff, window.Len())
	}
	return window.Slice(DirectoryOff, n), nil
}

func (d Directory) stands(dir shmem.Span, words []uint32) bool {
	if dir.Load32(DirLayoutEpoch) == 0 {
		return false
	}
	for i, word := range words {
		if i != DirLayoutEpoch/4 && dir.Load32(4*uint64(i)) != word {
			return false
		}
	}
	return true
}

// words is the directory as it stands in memory, without its epoch.
func (d Directory) words() []uint32 {
	words := make([]uint32, DirSize/4, DirSize/4+len(d.Entries)*EntryStride/4)
	for off, v := range map[int]uint32{
		DirMagic: Ident, DirVersion: Version, DirHeaderSize: DirSize,
		DirWindowSize: uint32(d.WindowSize), DirWindowSize + 4: uint32(d.WindowSize >> 32),
		DirEntryOff: DirectoryOff + DirSize, DirEntryCount: uint32(len(d.Entries)), DirEntryStride: EntryStride,
		DirToDevice: d.ToDevice, DirToDriver: d.ToDriver,
	} {
		words[off/4] = v
	}
	for _, e := range d.Entries {
		words = append(words, e.words()...)
	}
	return words
}

func (e Entry) words() []uint32 {
	words := make([]uint32, EntryStride/4)
	words[EntryDeviceID/4] = e.DeviceID
	words[EntrySlotOff/4] = uint32(e.SlotOff)
	if e.Legacy {
		words[EntryFlags/4] = EntryLegacy
		return words
	}
	words[EntrySlotSize/4] = uint32(e.SlotSize)
	words[EntryMemOff/4] = uint32(e.MemOff / PageSize)
	words[EntryMemSize/4] = uint32(e.MemSize / PageSize)
	words[EntryInstance/4] = e.Instance
	words[EntryToDriver/4] = e.ToDriver
	return words
}
