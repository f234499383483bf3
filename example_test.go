package virtio_test

import (
	"context"
	"fmt"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// A whole link: a monitor with one device, and a front-end that reads from it. Here both are in
// one process, so the memory is a memfd and the doorbell a pair of tokens.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	const addr = 0x37000000 // where the front-end sees the memory
	mem, err := shmem.NewMemfd("window", 1<<20)
	if err != nil {
		fmt.Println(err)
		return
	}
	host, guest := notify.NewPair()

	// The monitor.
	bus, err := mmio.NewBus(mmio.Options{Region: mem, Addr: addr, Line: host})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := bus.Add("rng", rng.New(rng.Options{}), 0); err != nil {
		fmt.Println(err)
		return
	}
	go bus.Run(ctx)

	// The front-end.
	w, err := driver.Open(driver.Options{Region: mem, Addr: addr, Line: guest})
	if err != nil {
		fmt.Println(err)
		return
	}
	dev, err := w.Find(ctx, virtio.IDEntropy, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	random, err := driver.StartRNG(ctx, dev)
	if err != nil {
		fmt.Println(err)
		return
	}
	n, err := random.Read(make([]byte, 32))
	fmt.Println("random bytes:", n, err)
	// Output: random bytes: 32 <nil>
}
