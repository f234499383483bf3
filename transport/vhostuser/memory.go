package vhostuser

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hypervisorless/virtio/shmem"
)

// maxSlots is how many regions of memory there can be.
const maxSlots = 32

// memory is the front-end's memory: the regions it has told us of, mapped. The zero memory is
// none.
type memory struct {
	regions []region
	space   *shmem.Space // of guest addresses; nil without regions
}

// region is one of them.
type region struct {
	regionDesc
	mapped *shmem.Region
	off    uint64 // of the region's first byte in the mapping
}

var errSlots = fmt.Errorf("more than %d memory regions", maxSlots)

// mapRegion maps a region and takes fd over, also when it fails.
func mapRegion(d regionDesc, fd int) (region, error) {
	f := os.NewFile(uintptr(fd), fmt.Sprintf("the memory at %#x", d.guest))
	r, err := mapPart(d, f, fd)
	if err != nil {
		_ = f.Close()
	}
	return r, err
}

func mapPart(d regionDesc, f *os.File, fd int) (region, error) {
	if d.size == 0 || d.guest+(d.size-1) < d.guest || d.user+(d.size-1) < d.user {
		return region{}, fmt.Errorf("a memory region of %#x bytes at %#x (%#x) is empty or wraps around", d.size, d.guest, d.user)
	}
	page, err := pageSize(fd)
	if err != nil {
		return region{}, err
	}
	start := d.offset &^ (page - 1)
	end := (d.offset + d.size + page - 1) &^ (page - 1)
	if d.offset+d.size < d.offset || end < d.offset || int64(end) < 0 {
		return region{}, fmt.Errorf("a memory region of %#x bytes at offset %#x wraps around", d.size, d.offset)
	}
	// The last page may stick out of the file; what is beyond is not part of the region.
	size := min(end, fileEnd(f, d.offset+d.size)) - start
	mapped, err := shmem.OpenFD(f, int64(start), int64(size), shmem.Normal)
	if err != nil {
		return region{}, err
	}
	return region{regionDesc: d, mapped: mapped, off: d.offset - start}, nil
}

// fileEnd is where a file ends, but at least what is needed of it.
func fileEnd(f *os.File, need uint64) uint64 {
	info, err := f.Stat()
	if err != nil {
		return need
	}
	return max(need, uint64(info.Size()))
}

var errNotFile = errors.New("memory is not a regular file")

// pageSize is the size of the pages by which a file is mapped.
func pageSize(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, errNotFile
	}
	page := uint64(os.Getpagesize())
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err == nil && fs.Type == unix.HUGETLBFS_MAGIC {
		page = max(page, uint64(fs.Bsize))
	}
	return page, nil
}

// build makes the space of the regions, after one was added or removed.
func (m *memory) build() error {
	m.space = nil
	if len(m.regions) == 0 {
		return nil
	}
	windows := make([]shmem.Window, len(m.regions))
	for i, r := range m.regions {
		windows[i] = shmem.Window{Addr: r.guest, Region: r.mapped, Off: r.off, Size: r.size}
		for _, o := range m.regions[:i] {
			if r.user-o.user < o.size || o.user-r.user < r.size {
				return fmt.Errorf("memory regions at %#x and %#x overlap in the front-end", o.user, r.user)
			}
		}
	}
	space, err := shmem.NewSpace(windows...)
	m.space = space
	return err
}

// close unmaps everything.
func (m *memory) close() {
	for _, r := range m.regions {
		_ = r.mapped.Close()
	}
	*m = memory{}
}

// guest is the guest address of n bytes at an address of the front-end's own.
func (m *memory) guest(user, n uint64) (uint64, error) {
	for i := range m.regions {
		r := &m.regions[i]
		if off := user - r.user; off < r.size && n <= r.size-off {
			return r.guest + off, nil
		}
	}
	return 0, fmt.Errorf("%d bytes at the front-end's %#x are outside of its memory", n, user)
}
