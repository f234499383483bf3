package mmio

import (
	"fmt"

	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
)

// The Modern layout. Each slot has two pages: the slot page, and one for the words of what is in
// flight, which is enough for four queues of the usual size.
const (
	pagesStart  = 0x2000
	pagesStride = 2 * hvl2.PageSize
	memoryStart = 0x10000 // or behind the pages
)

// placePages places the slots of the Modern layout: pages first, then each device's memory.
func (m *Map) placePages(slots []Slot) error {
	if len(slots) > hvl2.MaxEntries {
		return fmt.Errorf("%d devices in one window: the directory has room for %d", len(slots), hvl2.MaxEntries)
	}
	next := max(memoryStart, pagesStart+pagesStride*uint64(len(slots)))
	if next > m.Size {
		return fmt.Errorf("window of %#x bytes: the pages of %d devices need %#x", m.Size, len(slots), next)
	}
	left, sharing := m.Size-next, uint64(0)
	for _, s := range slots {
		if s.Mem > left {
			return fmt.Errorf("%s: memory of %#x bytes does not fit a window of %#x bytes", s.Name, s.Mem, m.Size)
		}
		if left -= s.Mem; s.Mem == 0 {
			sharing++
		}
	}
	for i, s := range slots {
		if s.Mem == 0 {
			s.Mem = left / sharing &^ (PageSize - 1)
		}
		if s.Mem < blockMin {
			return fmt.Errorf("%s: %#x bytes are left for its memory, and at least %#x are needed", s.Name, s.Mem, blockMin)
		}
		page := pagesStart + pagesStride*uint64(i)
		m.Places = append(m.Places, Place{
			Slot: s, Header: m.Addr + page, Block: m.Addr + next, Size: s.Mem,
			Page: hvl2.Place{
				SlotOff: page, SlotSize: hvl2.PageSize, MemOff: next, MemSize: s.Mem, AddrBase: m.Addr + next,
				InflightOff: page + hvl2.PageSize, InflightSize: hvl2.PageSize,
			},
		})
		next += s.Mem
	}
	return nil
}

// extent is a part of a window, from its start.
type extent struct{ start, size uint64 }

func (e extent) meets(o extent) bool {
	return e.size > 0 && o.size > 0 && e.start < o.start+o.size && o.start < e.start+e.size
}

// own is what only a page's device stores to.
func (p Place) own() []extent {
	return []extent{{p.Page.SlotOff, p.Page.SlotSize}, {p.Page.InflightOff, p.Page.InflightSize}}
}

// with is the map with a page beside what it has.
func (m Map) with(p Place) (Map, error) {
	memory := extent{p.Page.MemOff, p.Page.MemSize}
	legacy := m.legacy()
	for _, e := range append(p.own(), memory) {
		if e.start > m.Size || e.size > m.Size-e.start {
			return m, fmt.Errorf("%s: %#x bytes at %#x lie outside of the window", p.Name, e.size, e.start)
		}
		for _, l := range legacy {
			if e.meets(l) {
				return m, fmt.Errorf("%s: %#x bytes at %#x meet what a legacy front-end has", p.Name, e.size, e.start)
			}
		}
	}
	places := make([]Place, 0, len(m.Places)+1)
	for i, o := range m.Places {
		if o.Modern() {
			for _, mine := range p.own() {
				for _, theirs := range o.own() {
					if mine.meets(theirs) {
						return m, fmt.Errorf("%s: its page meets that of %s", p.Name, o.Name)
					}
				}
			}
		} else if i == directorySlot {
			return m, fmt.Errorf("%s: the eighth header's place is the directory's", p.Name)
		} else if m.Layout == Table {
			for _, e := range append(p.own(), memory) {
				if e.size > 0 && e.start < o.Block-m.Addr+o.Size {
					o.Size = e.start - (o.Block - m.Addr)
				}
			}
			if o.Size == 0 {
				return m, fmt.Errorf("%s: nothing is left for the legacy devices", p.Name)
			}
		}
		places = append(places, o)
	}
	m.Places = append(places, p)
	return m, nil
}

// directorySlot is the header whose place the directory has.
const directorySlot = hvl2.DirectoryOff / HeaderSize

// legacy is what a legacy front-end was given, but for the Table layout's pool, which can become
// smaller.
func (m Map) legacy() (all []extent) {
	switch m.Layout {
	case Table:
		return []extent{{0, tableSize}}
	case Tree:
		all = append(all, extent{0, treeSize})
		for _, p := range m.Places {
			if !p.Modern() {
				all = append(all, extent{p.Block - m.Addr, p.Size})
			}
		}
	}
	return all
}
