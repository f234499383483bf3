// Package hvl2 is the modern register transport of hypervisor-less virtio: the register map of
// virtio-mmio version 2 (4.2.2) in plain shared memory, sound although nothing traps. docs/hvl-v2.md
// is its specification.
//
// # A page a device
//
// Each device has a slot page. Its first half is the register map and the configuration space, and
// only the device stores there: a driver reads registers by plain loads. It writes one by a
// transaction, in words of its own: value and offset, then a number, then the doorbell. The device
// does what it says, stores what the registers read now, and copies the number to TxnAck. One
// transaction is outstanding at most, and nothing is overwritten unseen. The acknowledgement means
// that the effect is complete: after that of a reset nothing touches the driver's memory any more.
//
// Interrupts are two counters of the device's, acknowledged by copying what was read of them into
// words of the driver's. So a handler never waits, and no event is lost.
//
// # A slot
//
// A [Slot] is the device side of one page. It does not know what rings, what wakes it or who else
// is in the window: whoever has it calls [Slot.Start], and [Slot.Scan] on every doorbell. A Scan
// never waits: while a device is letting go of memory the acknowledgement is withheld, Beat moves,
// and everything else goes on. Package transport/mmio puts slots on a bus of their own, or beside
// legacy headers.
//
// What the page holds is a copy: a slot decides by words of its own, and a driver that scribbles
// on its registers finds that out alone.
//
// # A monitor that dies
//
// The page is also the redo log. The registers written so far stand in it, and so does the
// transaction that was not acknowledged; every one can be done twice. A successor goes on where
// the rings say, for devices that complete in order; where its words say what was in flight, for
// those that do not but can do a request again ([virtio.Info].Redo). Where it cannot go on it
// changes Epoch, sets DEVICE_NEEDS_RESET, and refuses everything but a reset.
//
// # Finding the pages
//
// A [Directory] at a fixed place of the window lists them. A front-end that gets single pages from
// a device tree needs none: they describe themselves.
package hvl2
