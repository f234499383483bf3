// Not on arm64: its tests also run under QEMU's user mode, which does not tell where a fault was.

//go:build !arm64

package shmem_test

import (
	"fmt"
	"log"
	"os"

	"github.com/hypervisorless/virtio/shmem"
)

// A file truncated while it is mapped costs an error, not the process.
func ExampleGuard() {
	dir, err := os.MkdirTemp("", "shmem")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	region, err := shmem.OpenFile(dir+"/window", int64(os.Getpagesize()))
	if err != nil {
		log.Fatal(err)
	}
	defer region.Close()
	span, err := region.Span(0, region.Size())
	if err != nil {
		log.Fatal(err)
	}

	read := func() (v uint32, err error) {
		defer shmem.Recover(&err, shmem.Guard())
		return span.Load32(0), nil
	}
	_, before := read()
	if err := region.File().Truncate(0); err != nil {
		log.Fatal(err)
	}
	_, after := read()
	_, gone := after.(*shmem.FaultError)
	fmt.Println(before, gone)
	// Output:
	// <nil> true
}
