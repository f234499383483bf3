package virtio_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring"
)

// Crier is a whole device: it repeats what it is told, but louder.
type Crier struct{}

func (Crier) Info() virtio.Info {
	return virtio.Info{ID: 0x2a, Queues: []uint16{16}, InOrder: true}
}

func (Crier) ReadConfig([]byte, int) {}

func (Crier) Serve(ctx context.Context, s *virtio.Session) error {
	word := make([]byte, 64)
	return s.Queue(0).Handle(ctx, func(c *vring.Chain) error {
		n, err := c.Read(word)
		if err != nil {
			return err // there was nothing to read: given back with length 0
		}
		_, err = c.Write(bytes.ToUpper(word[:n]))
		return err
	})
}

var _ virtio.Backend = Crier{}

// A device of a dozen lines, and its driver. The driver's side is a test's: a real one sits
// behind a transport.
func Example() {
	rig, err := virtiotest.OpenRig("crier", Crier{}, virtiotest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rig.Close()
	if err := rig.Up(rig.Device.Offered()); err != nil {
		fmt.Println(err)
		return
	}
	reply, err := rig.Queue(0).Do([]byte("hello"), 16)
	fmt.Printf("%s %v\n", reply, err)
	fmt.Println(rig.Reset())
	// Output:
	// HELLO <nil>
	// <nil>
}
