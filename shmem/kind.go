package shmem

import "fmt"

// Kind says what the CPU allows on a mapping. It decides how blocks are copied and whether
// a compare-and-swap is legal; it never changes over the life of a Region.
type Kind uint8

const (
	// Normal is ordinary cached memory, coherent between all observers: a memfd, a file on
	// tmpfs, huge pages, the heap. Anything goes, compare-and-swap included.
	Normal Kind = iota
	// Uncached is Arm's Normal Non-cacheable memory (write-combining mappings): any width
	// and alignment, but no exclusive accesses, so no compare-and-swap.
	Uncached
	// Device is Arm's Device memory, what uio_pdrv_genirq maps: only naturally aligned
	// loads and stores of at most eight bytes; an unaligned one is a bus error.
	Device
)

func (k Kind) String() string {
	switch k {
	case Normal:
		return "normal"
	case Uncached:
		return "uncached"
	case Device:
		return "device"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// CompareAndSwap reports whether the memory supports an atomic read-modify-write.
func (k Kind) CompareAndSwap() bool { return k == Normal }
