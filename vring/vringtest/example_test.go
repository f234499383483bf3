package vringtest_test

import (
	"fmt"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// A driver offers a chain that loops. The device must notice, and write nowhere.
func Example() {
	m := vringtest.NewMemory(shmem.NewHeap(1<<16), 0x4000_0000)
	r := m.NewRing(m.Modern(4))
	m.Fill()

	hello := vringtest.Readable(m.Buffer([]byte("hello")), 5)
	r.Chain(0, hello, hello)
	last := r.Get(1)
	last.Flags, last.Next = vring.DescNext, 0
	r.Put(1, last)
	r.Offer(0)
	before := m.Snapshot()

	q, err := vring.New(m.Space, vring.Config{Layout: r.Layout})
	if err != nil {
		fmt.Println(err)
		return
	}
	var c vring.Chain
	_, err = q.Pop(&c)
	fmt.Println(err)
	fmt.Println(before.Changed())
	// Output:
	// queue 0: ring broken at chain 0: descriptor chain is longer than the queue
	// <nil>
}
