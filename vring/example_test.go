package vring_test

import (
	"fmt"
	"io"
	"strings"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// A device that shouts. The driver is the one of package vringtest.
func Example() {
	m := vringtest.NewMemory(shmem.NewHeap(1<<16), 0x4000_0000)
	driver := m.NewRing(m.Legacy(8, 4096))
	answer := m.Alloc(16, 1)
	driver.Chain(0, vringtest.Readable(m.Buffer([]byte("hello")), 5), vringtest.Writable(answer, 16))
	driver.Offer(0)

	q, err := vring.New(m.Space, vring.Config{Layout: driver.Layout})
	if err != nil {
		fmt.Println(err)
		return
	}
	var c vring.Chain // use it again for the next one
	if ok, err := q.Pop(&c); !ok {
		fmt.Println("no request:", err)
		return
	}
	question, _ := io.ReadAll(&c)
	fmt.Fprintf(&c, "%s!", strings.ToUpper(string(question)))
	q.Push(&c)
	notify, err := q.Publish()
	fmt.Println("notify the driver:", notify, err)

	e, _ := driver.Used()
	fmt.Printf("chain %d: %s\n", e.ID, m.Read(answer, uint64(e.Len)))
	// Output:
	// notify the driver: true <nil>
	// chain 0: HELLO!
}
