package shmem_test

import (
	"fmt"
	"log"
	"os"

	"github.com/hypervisorless/virtio/shmem"
)

// Two mappings of one memfd, as two processes would have them. The driver knows the memory by
// its physical address.
func Example() {
	device, err := shmem.NewMemfd("window", 1<<20)
	if err != nil {
		log.Fatal(err)
	}
	defer device.Close()
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), device.File().Fd())
	driver, err := shmem.OpenFile(path, 1<<20)
	if err != nil {
		log.Fatal(err)
	}
	defer driver.Close()

	// The driver puts a request at offset 0x2000, then publishes its address at offset 0.
	window, err := driver.Span(0, driver.Size())
	if err != nil {
		log.Fatal(err)
	}
	window.WriteAt([]byte("hello"), 0x2000)
	window.Store32(0, 0x37002000)

	// The device looks that address up: it is the driver's word, and may be anything.
	space, err := shmem.NewSpace(shmem.Window{Addr: 0x37000000, Region: device})
	if err != nil {
		log.Fatal(err)
	}
	index, err := space.Span(0x37000000, 4)
	if err != nil {
		log.Fatal(err)
	}
	request, err := space.Span(uint64(index.Load32(0)), 5)
	if err != nil {
		log.Fatal(err)
	}
	text := make([]byte, request.Len())
	request.ReadAt(text, 0)
	fmt.Printf("%s from %s memory, sealed: %v\n", text, request.Kind(), device.Sealed())
	// Output:
	// hello from normal memory, sealed: true
}

// What the driver gets wrong is an error.
func ExampleSpace() {
	space, err := shmem.NewSpace(
		shmem.Window{Addr: 0x37000000, Region: shmem.NewHeap(0x10000)},
		shmem.Window{Addr: 0x37020000, Region: shmem.NewHeap(0x10000)},
	)
	if err != nil {
		log.Fatal(err)
	}
	for _, buffer := range []struct{ addr, len uint64 }{
		{0x37001000, 64},
		{0x3700fff0, 64},
		{0x37020000, 1<<64 - 1},
	} {
		_, err := space.Span(buffer.addr, buffer.len)
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// 64 bytes at 0x3700fff0 are outside any one window
	// 18446744073709551615 bytes at 0x37020000 are outside any one window
}

// A device arms its wake-up and looks once more before it sleeps.
func ExampleFence() {
	region := shmem.NewHeap(4096)
	ring, err := region.Span(0, 4096)
	if err != nil {
		log.Fatal(err)
	}
	const avail, event = 2, 1028
	var fence shmem.Fence
	seen := ring.Load16(avail)

	ring.Store16Plain(event, seen) // wake me when there is more than this
	fence.StoreLoad()
	if ring.Load16(avail) == seen {
		fmt.Println("nothing came, sleep")
	}
	// Output:
	// nothing came, sleep
}

// The integrator's own UIO driver maps the memory write-combining, which sysfs does not tell.
func ExampleRegion_As() {
	region, addr, err := shmem.OpenUIO("rpmsg-window", 0)
	if err != nil {
		fmt.Println("this machine has no such device")
		return
	}
	region = region.As(shmem.Uncached)
	defer region.Close()
	fmt.Printf("%d bytes of %s memory at %#x\n", region.Size(), region.Kind(), addr)
	// Output:
	// this machine has no such device
}

// What a board would fault on, a test sees.
func ExampleNewStrict() {
	region, strict := shmem.NewStrict(4096, 8)
	span, err := region.Span(0, 4096)
	if err != nil {
		log.Fatal(err)
	}
	span.WriteAt(make([]byte, 15), 3)
	fmt.Println("accesses of 1, 2, 4 and 8 bytes:", strict.Width)

	_, ok := span.Bytes()
	fmt.Println("for a system call:", ok)

	defer func() { fmt.Println(recover()) }()
	span.CompareAndSwap32(0, 0, 1)
	// Output:
	// accesses of 1, 2, 4 and 8 bytes: [1 1 1 1]
	// for a system call: false
	// shmem: compare-and-swap on device memory of 4 bytes at offset 0x0 of 4096 is not allowed
}
