// Package virtio is the contract between a device and whatever carries it to its driver.
//
// # Where this package stands
//
// The library is a house of six rooms. A driver's bytes come in at the ground floor and go up
// one staircase:
//
//	backend/…     devices: queues and the host, never registers
//	transport/…   registers or messages, never devices
//	virtio        what the two agree on
//	vring         the split virtqueue
//	notify        doorbells
//	shmem         memory that is shared
//
// Arrows point down only, so a device written for this package runs behind every transport,
// and is tested with none.
//
// # How a device is written
//
// A device is a [Backend]: it says what it is (Info), shows its configuration space
// (ReadConfig), and serves a driver (Serve). Serve gets a [Session], which is one life of the
// driver: from the moment it says DRIVER_OK until it resets the device, reboots or dies. The
// session has the features that were agreed on, and the queues. A queue hands out requests one
// by one, and takes them back:
//
//	func (d *dice) Serve(ctx context.Context, s *virtio.Session) error {
//		return s.Queue(0).Handle(ctx, func(c *vring.Chain) error {
//			_, err := c.Write([]byte{d.roll()})
//			return err
//		})
//	}
//
// That is a whole device. A [vring.Chain] reads like an io.Reader and writes like an io.Writer,
// however the driver cut its buffers into descriptors; every length and address in it has been
// checked. What the driver wrote into it has not: do not trust it, and allocate nothing of a
// size that a driver chose.
//
// A device with several queues runs a goroutine for each and has them all back before Serve
// returns. A queue that is driven by the host, a console's input say, takes chains with
// [Queue.Next] when there is something to put into them, gives them back with [Queue.Done], and
// calls [Queue.Flush] before it waits for the host again. Bytes that may be long in coming go
// into memory of the device's own first: a session can end while they are awaited.
//
// Where a request itself may take long, that of a file system, [Queue.HandleParallel] gives each
// chain a goroutine; where one request can call another off, [Queue.HandleBegun] shows them in
// order first, [Queue.Drop] gives back what was called off, and [Queue.Finish] what was answered
// before. System calls straight into the driver's memory go through Fill and Drain of the
// [vring.Chain], as long as they are bounded.
//
// There is no code for resets. When the session is over its context is done, Next returns, and
// every access to the driver's memory fails; the device only has to return. What the driver can
// see of its state starts afresh with the next Serve. A queue that the driver resets alone is an
// empty queue until it comes back, and the chains of its former life fail in the same way.
//
// Optional are [ConfigWriter], for a configuration space that the driver may write, and
// [Negotiator], for features that do not go together. Package virtio/virtiotest tries a device
// with a good driver and with a hostile one.
//
// # What goes wrong
//
// A request that is wrong is given back with nothing written, is counted, and costs nothing
// else: [Queue.Refuse], or an error in Handle's function. A ring that is broken, a panic, an
// error from Serve: each stops this one device until the driver resets it
// (DEVICE_NEEDS_RESET, 2.1.2). Neither the process nor another device notices.
//
// # How a transport uses it
//
// A transport makes a [Device] of a Backend and calls it as the driver moves: SetStatus,
// SetDriverFeatures, EnableQueue, DisableQueue, Kick, ReadConfig; or, where a reset is not answered, Start and
// End. The Device is the state machine of sections 2.1 to 2.5 and 3.1 of the specification, so
// that all transports behave alike. Nothing in it waits: a reset that a device delays is a
// state, and Wake tells when to look again.
//
// Numbers in parentheses are sections of the Virtual I/O Device specification, version 1.4.
package virtio
