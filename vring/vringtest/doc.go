// Package vringtest is the driver's side of a split virtqueue, raw: it lays a ring out in the
// driver's memory, puts any descriptor into the table, however wrong, makes chains available,
// and reads what the device put into the used ring. It checks nothing and believes nothing,
// so a test can play a good driver as well as a hostile one.
//
// A test has three things in its hands. [Memory] is what the driver owns: a window of shared
// memory and a heap in it, with snapshots to prove that the device wrote nowhere else. [Ring]
// is one queue in that memory. [Desc] is one descriptor, built by [Readable] and [Writable]
// or by hand:
//
//	m := vringtest.NewMemory(shmem.NewHeap(1<<16), 0x4000_0000)
//	r := m.NewRing(m.Modern(8))
//	r.Chain(0, vringtest.Readable(m.Buffer([]byte("ping")), 4), vringtest.Writable(m.Alloc(4, 1), 4))
//	r.Offer(0)
//	// … the device serves the queue described by r.Layout …
//	elem, ok := r.Used()
//
// Everything works on Normal and on strict Device memory. One goroutine at a time may use a
// Memory and its Rings. The device may run in another one meanwhile: indexes and flags are
// stored and loaded in the order that the ring demands (2.7.6, 2.7.8). The race detector does
// not know of that order; put the memory into a memfd where it is to watch the rest.
//
// Misuse of the package itself panics: a full heap, an address outside the memory.
package vringtest
