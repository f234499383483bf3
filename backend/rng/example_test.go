package rng_test

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// line stands in for a transport: it only passes on that something happened.
type line chan struct{}

func (l line) NotifyUsed(int) { l <- struct{}{} }
func (l line) NotifyConfig()  {}
func (l line) Wake()          {}

// A driver asks an entropy device for eight bytes, with no transport in between.
func Example() {
	region, err := shmem.NewMemfd("driver", 1<<16)
	if err != nil {
		fmt.Println(err)
		return
	}
	mem := vringtest.NewMemory(region, 0x4000_0000)
	ring := mem.NewRing(mem.Modern(4))
	ring.Chain(0, vringtest.Writable(mem.Alloc(8, 1), 8))

	notified := make(line, 1)
	dev, err := virtio.NewDevice("rng", rng.New(rng.Options{Rate: 1 << 20}), notified, virtio.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := dev.EnableQueue(mem.Space, vring.Config{Layout: ring.Layout}); err != nil {
		fmt.Println(err)
		return
	}
	dev.Start()

	ring.Offer(0)
	dev.Kick()
	select {
	case <-notified:
	case <-time.After(20 * time.Second):
	}
	used, _ := ring.Used()
	fmt.Println(dev.Info().ID, "gave", used.Len, "bytes")
	dev.End()
	// Output: rng gave 8 bytes
}
