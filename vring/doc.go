// Package vring is the device side of a split virtqueue (2.7 of the virtio specification, 1.4).
//
// # One ring, two sides
//
// A split virtqueue is three arrays in memory that a driver and a device share. The descriptor
// table says where buffers are. Through the available ring the driver hands chains of descriptors
// to the device; through the used ring the device hands them back. Each array has one writer,
// and each side learns of the other by looking at an index that only ever grows, modulo 65536.
// Nobody takes a lock. What holds it together is the order in which stores become visible, and
// a rule for who may go to sleep when.
//
// This package knows that order and that rule, and nothing else: it does no I/O, waits for
// nothing and logs nothing. [Layout] says where the three arrays are, in the contiguous layout
// of a legacy device ([Legacy]) or in three pieces. [New] checks it and makes a [Queue].
//
// # The way of a request
//
// [Queue.Pop] takes the next chain into a [Chain], which the caller owns and uses again and
// again. A Chain is two streams, however the driver has cut them into descriptors: Read
// consumes what the device may read, Write fills what it may write. [Queue.Push] gives the chain
// back, with as many bytes as were written. [Queue.Publish] makes everything pushed visible with
// one store and says whether the driver wants to be notified; how to notify is somebody
// else's trade.
//
//	for {
//		ok, err := q.Pop(&c)
//		switch {
//		case errors.As(err, &refused): // one bad chain: count it, go on
//		case err != nil:
//			return err // the ring is broken or the session over
//		case ok:
//			serve(&c)
//			q.Push(&c)
//		default: // nothing there: publish, arm, look once more, sleep
//			if notify, err := q.Publish(); …
//			if pending, err := q.Arm(); …
//		}
//	}
//
// The more chains go into one Publish, the less each of them costs: the elements of the used ring
// are written in one burst, and the full barrier that a notification needs is paid once. Where a
// driver polls, [Queue.Show] lets it see completions early without that barrier.
//
// # Before the device sleeps
//
// [Queue.Arm] asks for a kick at the next chain and then looks again, because that chain may
// have come in between. The driver does the same the other way round. Both store, then load
// what the other one stores; unless each store is visible before the load that follows it, both
// can miss each other and sleep for ever. Go has no fence, but its atomics are sequentially
// consistent, and package shmem makes the one fence of this protocol from them.
// [Queue.Disarm] tells the driver that kicks are a waste, from the next Publish on. Both work
// with flags or, where EVENT_IDX was negotiated, with event indexes.
//
// # The driver is not trusted
//
// A driver may be broken, hostile, or in the middle of a reboot. Every word that it can write is
// copied once, then checked, then used; nothing that the device wrote is read back. A chain has at
// most as many buffers as the queue has entries and describes less than 4 GiB, readable ones first,
// all of it inside the Space. What is wrong costs as little as it can:
//
//   - A fault of one chain (a bad address, a wrong order, a bad indirect table) costs that
//     chain. Pop returns a [*ChainError], the chain goes back with length 0, and the next Pop
//     goes on behind it. No head is ever lost, and none is returned twice.
//   - A fault of the ring (an index that jumped, a head or next field beyond the table, a loop)
//     leaves nothing to go on with. Pop returns a [*RingError], the Queue takes no more chains
//     and leaves the rings alone. It ends with the reset that the driver owes.
//   - Memory that has vanished under the queue, a truncated file for one, is a
//     *shmem.FaultError, and final like a fault of the ring.
//
// Config.Patient turns the first fault of a ring into patience, for transports where a rebooting
// driver is announced by nothing else than a ring that has jumped back to zero.
//
// No length a driver sends makes the device allocate, and no work is unbounded: a single Pop reads
// a chain, and [Queue.Walked] counts the descriptors, so that a drain can have a budget.
//
// # When the device dies
//
// A device that completes in order can be followed by another process at once: what the used
// index does not show is done again (Config.Start). For one that does not, a [Journal] writes
// down what is in flight, and Config.Redo hands that to the successor.
//
// # Whose turn it is
//
// One goroutine owns a Queue. A Chain in flight may be served by another one, and any number of
// them at once, one goroutine to a Chain. A [Gate] stands between all of them and the memory: a
// transport shuts it when the driver resets the device, and once nobody is inside, not one more
// byte of the driver's memory is read or written by this session, whatever backends still do.
package vring
