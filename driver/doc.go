// Package driver is the front-end of a hypervisor-less link: the driver side of virtio's
// split virtqueues behind registers in plain shared memory, for tests, for tools, and for a
// Linux program that is itself the front-end.
//
// [Open] takes a mapped window and a doorbell; [Window.Find] waits for a device of a type in
// either memory layout; [Device.Start] brings it up in one of the deployed dialects; a
// [Queue] carries requests: [Queue.Do] waits for the answer, [Queue.Submit] does not. Buffers
// are copied through memory inside the window (bounce buffers) unless they are a [Buffer] of
// it. [RNG] (an io.Reader), [Console] (an io.ReadWriter), [P9] (a connection for a 9P client) and
// [Vsock] (which dials and listens) stand on top.
//
// Devices of hvl-v2, a page each behind a directory (docs/hvl-v2.md), are found by the same calls,
// beside legacy ones or alone ([Window.Page] takes a page that no directory names), and Start,
// Queue and the rest are the same. There a device can be reset ([Device.Reset]), or one queue
// ([Queue.Reset]), and a driver that dies or a monitor that comes back without its state costs
// no more than another Start: see [ErrNeedsReset].
//
// What a legacy front-end does to the shared registers is the wire that back-ends in the field know,
// store by store and ring by ring; [Device.Boot] gives it as single steps. What the device
// writes into the rings is checked before it is used, and lengths and ids that lie cost an
// error, never memory outside of the window.
//
// A [Window] needs no goroutine of its own: whoever waits for an answer also serves the
// doorbell for everybody else. A program that submits requests with callbacks and waits for
// none of them runs [Window.Run].
package driver
