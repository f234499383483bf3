package mmio_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// Where everything lies follows from the layout and the order of the devices; both sides can
// compute it.
func ExampleNewMap() {
	m, err := mmio.NewMap(mmio.Tree, 0x37000000, 16<<20,
		mmio.Slot{Name: "console", ID: virtio.IDConsole},
		mmio.Slot{Name: "rng", ID: virtio.IDEntropy})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range m.Places {
		fmt.Printf("%-7s header %#x, %d KiB\n", p.Name, p.Header, p.Size>>10)
	}
	// Output:
	// console header 0x37010000, 24 KiB
	// rng     header 0x37016000, 24 KiB
}

// A monitor with one device, and a front-end in the same program to talk to it. Most monitors
// map a file and listen on a socket instead: the driver is another process, or another machine
// on the same memory.
func ExampleBus() {
	region, err := shmem.NewMemfd("example", 1<<20)
	if err != nil {
		log.Fatal(err)
	}
	defer region.Close()
	host, guest := notify.NewPair()

	bus, err := mmio.NewBus(mmio.Options{
		Region: region, Addr: 0x37000000, Line: host, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := bus.Add("rng", rng.New(rng.Options{}), 0); err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- bus.Run(ctx) }()

	random := make([]byte, 16)
	if err := readRandom(ctx, region, guest, random); err != nil {
		log.Fatal(err)
	}
	for _, st := range bus.Stats() {
		fmt.Printf("%s: %v, live %v, %d refused\n", st.Name, st.Status, st.Live, st.Refusals)
	}
	stop()
	fmt.Println("stopped:", <-done)
	// Output:
	// rng: driver-ok, live true, 0 refused
	// stopped: <nil>
}

// readRandom is the front-end.
func readRandom(ctx context.Context, region *shmem.Region, line notify.Line, p []byte) error {
	window, err := driver.Open(driver.Options{Region: region, Addr: 0x37000000, Line: line})
	if err != nil {
		return err
	}
	defer window.Close()
	device, err := window.Find(ctx, virtio.IDEntropy, 0)
	if err != nil {
		return err
	}
	random, err := driver.StartRNG(ctx, device)
	if err != nil {
		return err
	}
	_, err = io.ReadFull(random, p)
	return err
}
