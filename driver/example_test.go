package driver_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// Both sides of a link in one program. A front-end of its own opens the file and dials the
// socket of its monitor instead.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	region := shmem.NewHeap(1 << 20)
	host, guest := notify.NewPair()

	bus, err := mmio.NewBus(mmio.Options{Region: region, Addr: 0x37000000, Line: host, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	dice := strings.NewReader(strings.Repeat("4", 1000))
	if err := bus.Add("dice", rng.New(rng.Options{Source: dice}), 0); err != nil {
		log.Fatal(err)
	}
	go bus.Run(ctx)

	window, err := driver.Open(driver.Options{Region: region, Addr: 0x37000000, Line: guest})
	if err != nil {
		log.Fatal(err)
	}
	defer window.Close()
	device, err := window.Find(ctx, virtio.IDEntropy, 0)
	if err != nil {
		log.Fatal(err)
	}
	random, err := driver.StartRNG(ctx, device)
	if err != nil {
		log.Fatal(err)
	}
	p := make([]byte, 8)
	if _, err := io.ReadFull(random, p); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s from the %v\n", p, device)
	// Output: 44444444 from the rng in slot 0
}
