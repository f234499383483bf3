// Package mmio serves virtio devices whose registers are words of plain shared memory: the
// legacy virtio-mmio register map (4.2.4) as the hypervisor-less front-ends in the field use it,
// Zephyr's 2021 sample, OpenAMP's virtio-exp and virtio-exp-v2025.04, and VxWorks. Nothing
// traps. Each side sees only the last value stored in a word, and a doorbell says no more than
// "look at everything".
//
// A [Bus] owns one window of shared memory and one doorbell. Add devices, then Run: it publishes
// their headers, magic last, and from then on looks at all of them on every ring. A request
// takes six steps: the doorbell is consumed; the scan finds a ring that moved; the queue's
// goroutine wakes; it takes the chain; the backend serves it; the answer is published, an
// interrupt bit set, the front-end rung.
//
// # One scan
//
// The scan never waits and never returns early. For each device it looks first for a restart of
// the front-end, then for a queue that is asked for, then at the rings. Ending a session is a
// state, not a wait: the device is told, the acknowledgement withheld, and whoever leaves the
// old session last wakes the scan again. So one backend that takes its time holds up its own
// driver and nobody else.
//
// # Two canaries
//
// A front-end may die and boot again at any moment, over whatever stands in the registers, and
// says nothing. But every deployed one stores GuestPageSize once in each boot and QueueAlign
// just before each QueuePFN, and reads neither. So the Bus stores 0 there, in the only moment it
// may touch the driver's words: between a request in QueuePFN and its acknowledgement, when the
// driver is blocked. Another value in GuestPageSize is a restart; a page number in QueuePFN
// beside a 0 in QueueAlign is no request, but what an earlier one left behind. Each access to
// ring memory looks at the first canary before it goes on.
//
// The acknowledgement is the one word both sides store to. It is a compare-and-swap where the
// memory has one; elsewhere a plain store, with a second look behind it that finds what the
// first could not rule out.
//
// The order of every load and store was model-checked, and the same histories are played
// against this code by its tests; docs/protocol.md has them in full.
//
// # Interrupts
//
// Bit 0 of InterruptStatus stays set for a session, and InterruptACK is ignored: an
// acknowledgement does not say which interrupt it answers. [Options].ClearIdle clears the bit of
// a device that has had no news for as many acknowledgements as can be stale plus one.
//
// # Slot pages
//
// The same Bus carries the modern dialect, hvl-v2, whose device side is package hvl2: alone in a
// window (the [Modern] layout), beside up to seven legacy headers ([Bus.AddPage]), or in a
// driver's whole RAM (the [Bare] layout). There is one doorbell for all of it, and a directory
// that leads to the pages wherever there is room for one. One bus serves a page at a time: it is
// locked in the file behind the window.
//
// # A monitor that dies
//
// What was acknowledged also stands in words of the header that no driver uses. A new Bus on a
// window whose front-end is alive takes the sessions up where the rings say, for devices that
// complete in order; it never clears such a window unless told to.
package mmio
