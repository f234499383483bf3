// Package vhostusertest is a vhost-user front-end for tests: what QEMU or User-Mode Linux would
// be to a back-end, with the driver of the guest in one piece. It is written from the protocol's
// specification and shares no line with the back-end side of package vhostuser, so that the two
// do not merely agree with themselves.
//
// Every message is a method of its own on [FrontEnd], which keeps no order and checks nothing
// before it sends: a test can leave steps out, repeat them, or send with [FrontEnd.Send] what no
// front-end ever would. [Memory] is the guest's memory, one or several memfds at any guest
// address. [Ring] is the driver's side of a split virtqueue in that memory. [Bell] is a kick or a
// call, by eventfd, by pipe or in-band. [Channel] serves what the back-end asks for by itself.
//
// [Guest] puts these together for tests whose subject is something else: its memory, rings and
// bells outlive connections. [Guest.Attach] does the whole handshake with a back-end, and with the
// next one after the first was killed, to which it hands the shared record of what was in flight
// ([Inflight]):
//
//	guest, err := vhostusertest.NewGuest(vhostusertest.Options{Sizes: []uint16{64}})
//	…
//	err = guest.Dial(path)
//	q := guest.Queues[0]
//	buffer := guest.Memory.Alloc(512, 1)
//	elem, err := q.Do(vhostusertest.Writable(buffer, 512))
//
// A Ring remembers what is in flight: a head that comes back twice, or was never offered, is an
// error of [Ring.Used], which no retry hides.
//
// All errors of a connection are final to it; waiting ends after the Patience of the FrontEnd.
package vhostusertest
