package mmio

import (
	"fmt"

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
)

func (l Layout) String() string {
	if l == Tree {
		return "dtb"
	}
	return "table"
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
	Mem  uint64 // bytes of its block in the Tree layout, header included; 0: the usual size
}

// Place is where a slot lies. All addresses are the driver's.
type Place struct {
	Slot
	Header uint64 // address of the header
	Block  uint64 // address of the memory published as the device's (SHMBase)
	Size   uint64 // bytes of that memory (SHMLen)
}

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
	if layout == Table {
		if len(slots) > tableSlots {
			return m, fmt.Errorf("%d devices in one window: the table layout has room for %d", len(slots), tableSlots)
		}
		if size <= tableSize {
			return m, fmt.Errorf("window of %#x bytes: the table layout needs more than %#x", size, tableSize)
		}
		for i, s := range slots {
			// The driver shares one pool among all devices: that is what is published.
			m.Places = append(m.Places, Place{s, addr + uint64(i)*HeaderSize, addr + tableSize, size - tableSize})
		}
		return m, nil
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
		m.Places = append(m.Places, Place{s, addr + next, addr + next, s.Mem})
		next += s.Mem
	}
	return m, nil
}

// registers reports whether [addr, addr+n) touches a header or the device tree fragment.
func (m Map) registers(addr, n uint64) bool {
	meets := func(start, size uint64) bool { return addr < start+size && start < addr+n }
	if m.Layout == Table {
		return meets(m.Addr, tableSize)
	}
	if meets(m.Addr, treeSize) {
		return true
	}
	for _, p := range m.Places {
		if meets(p.Header, HeaderSize) {
			return true
		}
	}
	return false
}
