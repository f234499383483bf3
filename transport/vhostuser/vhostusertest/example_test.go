package vhostusertest_test

import (
	"fmt"
	"os"

	"github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
)

// A front-end says something that no back-end expects. This back-end just reads it.
func Example() {
	ours, theirs, err := vhostusertest.SocketPair()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer theirs.Close()
	fe, err := vhostusertest.New(ours)
	if err != nil {
		fmt.Println(err)
		return
	}
	size := uint32(1 << 30)
	err = fe.Send(vhostusertest.Message{
		Request: vhostusertest.SetVringEnable,
		Flags:   vhostusertest.Version,
		Size:    &size, // a lie
		Payload: []byte{1, 2, 3, 4},
		Files:   []*os.File{ours}, // and a descriptor that nobody asked for
	})
	fe.Close()
	ours.Close()

	var got [64]byte
	n, _ := theirs.Read(got[:])
	fmt.Printf("%v, % x\n", err, got[:n])
	// Output: <nil>, 12 00 00 00 01 00 00 00 00 00 00 40 01 02 03 04
}
