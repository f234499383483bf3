package mmio

import (
	"fmt"

	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
	"github.com/hypervisorless/virtio/virtio"
)

// Layout is where the headers lie in a window.
type Layout uint8

const (
	// Table puts header i at the start of the window plus i·0x200; the driver places rings and
	// buffers anywhere from 0x1000 on. What Zephyr and OpenAMP front-ends use.
	Table Layout = iota
	// Tree puts a flattened device tree fragment in the first 64 KiB and after it one block a
	// device, the header first. What VxWorks uses.
	Tree
	// Modern puts a directory at the start of the window plus 0xE00, a slot page (hvl-v2) for
	// each device from 0x2000 on, and behind them memory for each device alone.
	Modern
	// Bare is a window of which nothing is the bus's but the pages that AddPage places: a
	// driver's whole RAM, for one.
	Bare
)

func (l Layout) String() string {
	switch l {
	case Table:
		return "table"
	case Tree:
		return "dtb"
	case Modern:
		return "v2"
	case Bare:
		return "bare"
	}
	return fmt.Sprintf("layout %d", uint8(l))
}

const (
	tableSize  = 0x1000 // the page of headers in the Table layout
	tableSlots = tableSize / HeaderSize
	treeSize   = 0x10000 // reserved for the device tree fragment in the Tree layout
	blockMin   = 2 * PageSize
)

// reach is how far QueuePFN reaches: 32 bits of pages.
const reach = PageSize << 32

// Slot asks for a place in a window.
type Slot struct {
	Name string
	ID   virtio.DeviceID
	// Mem is the bytes of its block in the Tree layout, header included, 0 for the usual size; or
	// of its memory in the Modern one, 0 for an equal share of what is left.
	Mem uint64
}

// Place is where a slot lies. All addresses are the driver's.
type Place struct {
	Slot
	Header uint64 // address of the header, or of the slot page
	Block  uint64 // address of the memory published as the device's (SHMBase)
	Size   uint64 // bytes of that memory (SHMLen)
	// Page is where the slot page and what belongs to it lie in the window; zero for a legacy
	// header.
	Page hvl2.Place
}

// Modern reports whether the slot is a page of hvl-v2, not a legacy header.
func (p Place) Modern() bool { return p.Page.SlotSize != 0 }

// Map is the memory map of a window: everything both sides must agree on.
type Map struct {
	Layout Layout
	Addr   uint64 // driver address of the first byte
	Size   uint64 // bytes
	Places []Place
}

// BlockSize is the usual size of a device's block in the Tree layout.
func BlockSize(id virtio.DeviceID) uint64 {
	switch id {
	case virtio.IDNet:
		return 512 << 10
	case virtio.IDSocket:
		return 64 << 10
	default:
		return 24 << 10
	}
}

// NewMap places the slots in a window, in order, and checks that they fit.
func NewMap(layout Layout, addr, size uint64, slots ...Slot) (Map, error) {
	m := Map{Layout: layout, Addr: addr, Size: size}
	switch {
	case addr%PageSize != 0 || size%PageSize != 0 || size == 0:
		return m, fmt.Errorf("window of %#x bytes at %#x: address and size must be multiples of %d", size, addr, PageSize)
	case addr+(size-1) < addr:
		return m, fmt.Errorf("window of %#x bytes at %#x wraps around", size, addr)
	case addr > reach || size > reach-addr:
		return m, fmt.Errorf("window of %#x bytes at %#x: a page number of 32 bits reaches up to %#x only", size, addr, uint64(reach))
	case len(slots) == 0:
		return m, fmt.Errorf("window at %#x: no device", addr)
	}
	for _, s := range slots {
		if s.Mem != 0 && (s.Mem%PageSize != 0 || s.Mem < blockMin) {
			return m, fmt.Errorf("%s: block of %#x bytes: must be a multiple of %d, at least %d", s.Name, s.Mem, PageSize, blockMin)
		}
	}
	switch layout {
	case Table:
		if len(slots) > tableSlots {
			return m, fmt.Errorf("%d devices in one window: the table layout has room for %d", len(slots), tableSlots)
		}
		if size <= tableSize {
			return m, fmt.Errorf("window of %#x bytes: the table layout needs more than %#x", size, tableSize)
		}
		for i, s := range slots {
			// The driver shares one pool among all devices: that is what is published.
			m.Places = append(m.Places, Place{
				Slot: s, Header: addr + uint64(i)*HeaderSize, Block: addr + tableSize, Size: size - tableSize,
			})
		}
		return m, nil
	case Modern:
		return m, m.placePages(slots)
	case Bare:
		return m, fmt.Errorf("window at %#x: the bare layout places nothing itself", addr)
	}
	next := uint64(treeSize)
	for _, s := range slots {
		if s.Mem == 0 {
			s.Mem = BlockSize(s.ID)
		}
		if s.Mem%PageSize != 0 || s.Mem < blockMin {
			return m, fmt.Errorf("%s: block of %#x bytes: must be a multiple of %d, at least %d", s.Name, s.Mem, PageSize, blockMin)
		}
		if next > size || s.Mem > size-next {
			return m, fmt.Errorf("%s: block of %#x bytes at %#x does not fit a window of %#x bytes", s.Name, s.Mem, next, size)
		}
		m.Places = append(m.Places, Place{Slot: s, Header: addr + next, Block: addr + next, Size: s.Mem})
		next += s.Mem
	}
	return m, nil
}

// registers reports whether [addr, addr+n) touches a header or the device tree fragment.
func (m Map) registers(addr, n uint64) bool {
	meets := func(start, size uint64) bool { return addr < start+size && start < addr+n }
	if m.Layout == Table && meets(m.Addr, tableSize) || m.Layout == Tree && meets(m.Addr, treeSize) {
		return true
	}
	for _, p := range m.Places {
		n := uint64(HeaderSize)
		if p.Modern() {
			n = p.Page.SlotSize
		}
		if meets(p.Header, n) {
			return true
		}
	}
	return false
}
