package hvl2_test

import (
	"fmt"
	"log"
	"log/slog"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
)

// A slot page by itself, and a driver's first two steps on it: it looks whether the page is one,
// and writes a register by a transaction. A monitor has its slots on a mmio.Bus, which scans at
// every doorbell.
func ExampleSlot() {
	region := shmem.NewHeap(1 << 20)
	slot, err := hvl2.New("rng", rng.New(rng.Options{}), hvl2.Options{
		Region: region,
		Place:  hvl2.Place{SlotOff: 0x2000, MemOff: 0x10000, MemSize: 0xF0000, AddrBase: 0x37010000},
		Ring:   func() {}, // the driver
		Wake:   func() {}, // the goroutine that scans
		Log:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := slot.Start(); err != nil {
		log.Fatal(err)
	}

	page, err := region.Span(0x2000, hvl2.PageSize)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(page.Load32(hvl2.RegMagic) == hvl2.Magic, page.Load32(hvl2.RegDeviceID))
	page.Store32(hvl2.OffTxnVal, 0)
	page.Store32(hvl2.OffTxnCmd, hvl2.Command(hvl2.RegStatus, 4))
	seq := page.Load32(hvl2.OffTxnSeq) + 1
	page.Store32(hvl2.OffTxnSeq, seq)
	if _, err := slot.Scan(); err != nil { // the doorbell
		log.Fatal(err)
	}
	fmt.Println(page.Load32(hvl2.OffTxnAck) == seq, hvl2.Result(page.Load32(hvl2.OffTxnResult)) == hvl2.Done)
	slot.Stop()
	// Output:
	// true 4
	// true true
}
