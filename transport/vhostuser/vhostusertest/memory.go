package vhostusertest

import (
	"errors"
	"fmt"
	"os"

	"github.com/hypervisorless/virtio/shmem"
)

// Region is a piece of the guest's memory.
type Region struct {
	Guest  uint64   // address in the guest, what descriptors hold
	User   uint64   // address in the front-end, what SET_VRING_ADDR holds
	Size   uint64   // bytes
	Offset uint64   // of its first byte in the file
	File   *os.File // what is shared
}

// Memory is the memory of a guest: Regions that are mapped here, and a heap in them that only
// grows. One goroutine at a time may use it.
type Memory struct {
	Regions []Region
	Space   *shmem.Space // by guest address

	mapped []*shmem.Region
	next   []uint64 // per Region, bytes given away
	turn   int
}

// NewMemory makes one memfd for each Region, whose File is filled in. The sum of Size and Offset
// is a multiple of the page size, and guest addresses of multiples of 16.
func NewMemory(regions ...Region) (*Memory, error) {
	m := &Memory{Regions: append([]Region(nil), regions...), next: make([]uint64, len(regions))}
	var windows []shmem.Window
	for i := range m.Regions {
		r := &m.Regions[i]
		mapped, err := shmem.NewMemfd(fmt.Sprintf("guest%d", i), int64(r.Offset+r.Size))
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		m.mapped = append(m.mapped, mapped)
		r.File = mapped.File()
		windows = append(windows, shmem.Window{Addr: r.Guest, Region: mapped, Off: r.Offset, Size: r.Size})
	}
	var err error
	if m.Space, err = shmem.NewSpace(windows...); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Close unmaps the memory. Nothing of it may be used any more.
func (m *Memory) Close() error {
	var errs []error
	for _, r := range m.mapped {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

// Alloc takes n bytes at a multiple of align, a power of two, and returns their guest address.
// The Regions take turns, so that what belongs together lies apart. A full heap panics.
func (m *Memory) Alloc(n, align uint64) (guest uint64) {
	m.turn = (m.turn + 1) % len(m.Regions)
	return m.AllocIn(m.turn, n, align)
}

// AllocIn is Alloc from a certain Region.
func (m *Memory) AllocIn(region int, n, align uint64) (guest uint64) {
	r := m.Regions[region]
	guest = (r.Guest + m.next[region] + align - 1) &^ (align - 1)
	if end := guest + n - r.Guest; end > r.Size {
		panic(fmt.Sprintf("vhostusertest: region %d has no room for %d bytes", region, n))
	}
	m.next[region] = guest + n - r.Guest
	return guest
}

// User is the user address of a guest address.
func (m *Memory) User(guest uint64) uint64 {
	for _, r := range m.Regions {
		if guest-r.Guest < r.Size {
			return guest - r.Guest + r.User
		}
	}
	panic(fmt.Sprintf("vhostusertest: no memory at %#x", guest))
}

// Span is the memory at [guest, guest+n), which has to lie in one Region; else it panics.
func (m *Memory) Span(guest, n uint64) shmem.Span {
	s, err := m.Space.Span(guest, n)
	if err != nil {
		panic(err)
	}
	return s
}

// Write puts p at a guest address.
func (m *Memory) Write(guest uint64, p []byte) { m.Span(guest, uint64(len(p))).WriteAt(p, 0) }

// Read is a copy of n bytes at a guest address.
func (m *Memory) Read(guest, n uint64) []byte {
	p := make([]byte, n)
	m.Span(guest, n).ReadAt(p, 0)
	return p
}

// SetMemTable tells the back-end of all Regions at once.
func (f *FrontEnd) SetMemTable(regions ...Region) error {
	payload := u32s(uint32(len(regions)), 0)
	var files []*os.File
	for _, r := range regions {
		payload = append(payload, r.describe()...)
		files = append(files, r.File)
	}
	return f.Tell(SetMemTable, payload, files...)
}

func (r Region) describe() []byte { return u64s(r.Guest, r.Size, r.User, r.Offset) }

// AddMemReg tells the back-end of one more Region (CONFIGURE_MEM_SLOTS).
func (f *FrontEnd) AddMemReg(r Region) error {
	return f.Tell(AddMemReg, append(u64s(0), r.describe()...), r.File)
}

// RemMemReg takes a Region away from the back-end (CONFIGURE_MEM_SLOTS).
func (f *FrontEnd) RemMemReg(r Region) error {
	return f.Tell(RemMemReg, append(u64s(0), r.describe()...))
}

// GetMaxMemSlots asks how many Regions the back-end takes (CONFIGURE_MEM_SLOTS).
func (f *FrontEnd) GetMaxMemSlots() (uint64, error) {
	return f.askNumber(question(GetMaxMemSlots, nil))
}
