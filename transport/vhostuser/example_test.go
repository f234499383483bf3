package vhostuser_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/transport/vhostuser"
	"github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
)

// An entropy device behind a socket, and a virtual machine as small as can be that reads from
// it. User-Mode Linux takes the same socket as virtio_uml.device=PATH:4.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "rng.sock")

	server, err := vhostuser.New("rng", rng.New(rng.Options{}), vhostuser.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	l, err := vhostuser.Listen(path)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.Run(ctx, l) }()

	guest, err := vhostusertest.NewGuest(vhostusertest.Options{Sizes: []uint16{16}})
	if err != nil {
		log.Fatal(err)
	}
	defer guest.Close()
	if err := guest.Dial(path); err != nil {
		log.Fatal(err)
	}
	elem, err := guest.Queues[0].Do(vhostusertest.Writable(guest.Memory.Alloc(32, 1), 32))
	fmt.Println(elem.Len, "bytes,", err)

	stop()
	fmt.Println("stopped:", <-done)
	// Output:
	// 32 bytes, <nil>
	// stopped: <nil>
}
