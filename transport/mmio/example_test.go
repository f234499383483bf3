package mmio_test

import (
	"fmt"

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
