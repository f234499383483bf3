package virtiotest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring"
)

// answer is a device that has one.
type answer struct{}

func (answer) Info() virtio.Info      { return virtio.Info{Queues: []uint16{16}} }
func (answer) ReadConfig([]byte, int) {}
func (answer) Serve(ctx context.Context, s *virtio.Session) error {
	return s.Queue(0).Handle(ctx, func(c *vring.Chain) error {
		_, err := c.Write([]byte{42})
		return err
	})
}

// A device's whole test is this.
func TestAnswer(t *testing.T) {
	virtiotest.TestBackend(t, func(testing.TB) virtiotest.Subject {
		return virtiotest.Subject{
			Backend: answer{},
			Script: []virtiotest.Request{{Writable: 1, Check: func(reply []byte) error {
				if len(reply) != 1 || reply[0] != 42 {
					return fmt.Errorf("the answer is %v", reply)
				}
				return nil
			}}},
		}
	})
}

// One request by hand, and what is left of the device after a broken one.
func Example() {
	rig, err := virtiotest.OpenRig("answer", answer{}, virtiotest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rig.Close()
	if err := rig.Up(rig.Device.Offered()); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(rig.Queue(0).Do(nil, 4))

	rig.Queue(0).SetAvailIdx(1000)
	rig.Device.Kick()
	rig.Await(func() bool { return rig.Device.Broken() != nil })
	fmt.Println(rig.Device.Status()&virtio.NeedsReset != 0)
	fmt.Println(rig.Reset(), rig.Device.Status())
	// Output:
	// [42] <nil>
	// true
	// <nil> reset
}
