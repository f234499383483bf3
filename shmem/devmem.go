package shmem

import (
	"fmt"
	"math"
	"os"
)

// OpenDevMem maps physical memory, whole pages of it, through /dev/mem. O_SYNC keeps the CPU's
// caches out of it: on arm64 the kernel then maps what it knows as RAM Non-cacheable and
// everything else as Device memory. Which of the two it chose cannot be seen from here, and
// only the rules of Device memory are right for both, so that is the Kind; As overrides it. A
// UIO device is the better way where there is one: it needs no such guess, and no kernel that
// leaves /dev/mem open (CONFIG_DEVMEM without CONFIG_STRICT_DEVMEM).
func OpenDevMem(addr, size uint64) (*Region, error) { return openDevMem("/dev/mem", addr, size) }

func openDevMem(dev string, addr, size uint64) (*Region, error) {
	page := uint64(os.Getpagesize())
	if addr%page != 0 || size%page != 0 || size == 0 {
		return nil, fmt.Errorf("shmem: %s: %d bytes at %#x are not whole pages of %d bytes", dev, size, addr, page)
	}
	if addr > math.MaxInt64 || size > math.MaxInt64-addr {
		return nil, fmt.Errorf("shmem: %s: %d bytes at %#x are beyond what can be mapped", dev, size, addr)
	}
	f, err := os.OpenFile(dev, os.O_RDWR|os.O_SYNC, 0)
	if err != nil {
		return nil, fmt.Errorf("shmem: %w (it takes root and a kernel with CONFIG_DEVMEM)", err)
	}
	r, err := mapFile(f, int64(addr), int64(size), Device)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%w (CONFIG_STRICT_DEVMEM keeps /dev/mem from memory that the kernel uses)", err)
	}
	r.name = fmt.Sprintf("%s at %#x", dev, addr)
	return r, nil
}
