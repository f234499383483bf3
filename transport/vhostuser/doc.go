// Package vhostuser serves a virtio device to a virtual machine in another process: the back-end
// side of the vhost-user protocol, as User-Mode Linux, QEMU, cloud-hypervisor and DPDK's
// virtio-user speak its front-end side. Any [virtio.Backend] is served as it is, so a device can
// be developed on a desktop against real Linux drivers and then moved to the board.
//
//	server, err := vhostuser.New("rng", rng.New(rng.Options{}), vhostuser.Options{})
//	…
//	l, err := vhostuser.Listen("/run/rng.sock")
//	…
//	err = server.Run(ctx, l)
//
// A [Server] is one device. Each front-end that connects is served until it leaves; one that
// comes meanwhile waits. [Server.Serve] takes a connection that somebody else made.
//
// # The life of a connection
//
// The front-end agrees on features, hands over its memory, and describes each queue: size,
// place, where to begin, a descriptor to kick and one to call. A queue that is complete and
// enabled goes live: the first one begins the session of the device, later ones join it, and
// one that is disabled leaves it, while the others go on. Where the front-end carries the device
// status (STATUS), DRIVER_OK begins the session and 0 ends it. Where it does not, a driver that
// starts again shows by what is said while no queue is live: features, memory, the base of a
// queue. Then the session ends, and whatever comes next is a new one.
//
// Memory may change under live queues: they are taken from the device for a moment, and go on
// where they were in the new memory.
//
// # Who runs
//
// One goroutine a connection reads the messages and moves the device's state machine; it waits
// for a device that has to let go of memory, so a message is answered when it is done. A second
// one waits for kicks, all queues at once, and wakes those that have something. A third sends
// our own requests, if the front-end gave us a channel for them. What a device returns is called
// from the device's own goroutines. From kick to call nothing is allocated.
//
// # What is trusted
//
// Nothing. Sizes, counts, indices and addresses are checked before use; memory that is cut off
// behind our back is an error of the device, not of the process (see package shmem). Descriptors
// to kick and call may be eventfds, pipes or sockets, and nothing else. They are shared with the
// front-end, which may put them into any mode, fill them or drain them at any moment: so their
// mode is neither relied upon nor changed, and no goroutine of ours can be held for ever. What is
// wrong with a message ends the connection, with one line in the log that says which device,
// which message and why; what is wrong with a queue stops that queue. Every descriptor and every
// mapping is gone with the connection.
//
// docs/vhost-user.md lists the protocol's features, and says why some are not offered.
package vhostuser
