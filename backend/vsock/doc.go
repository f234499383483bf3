// Package vsock is the socket device of virtio 1.4 §5.10 (device ID 19): connections between
// programs on the driver's side and programs on the host, without a network. It runs in user
// space and needs neither a kernel module nor root.
//
// [New] makes a [Device], which is a virtio.Backend. A connection is named by two ports, the
// driver's and the host's; the host's address (CID) is 2, the driver's is [Options].CID.
//
// # A connection is a net.Conn
//
// What reaches a program in Go is a [Conn]: deadlines, half-close, addresses and errors are those
// of package net, so what is written for sockets runs over it unchanged. There are four ways to
// come by one:
//
//	ln, err := dev.Listen(80)         // the driver connects to port 80; http.Serve(ln, …)
//	c, err := dev.Dial(ctx, 2331)     // to a port of the driver's
//	mux.Handle(7, func(c net.Conn) …) // a function for each connection to port 7
//	Options{Router: …}                // whatever else the driver may connect to
//
// A [Router] says who serves a port nobody listens at. [Mux] goes by port, [UnixRouter], [TCP]
// and [HostRouter] pass connections on to sockets of the host, [Dialer] to anything that can be
// dialled, and all of them are put together freely:
//
//	var mux vsock.Mux
//	mux.Handle(7, echo)
//	mux.Via(22, vsock.TCP("127.0.0.1:22"))
//	mux.Otherwise(vsock.UnixRouter("/run/guest.sock"))
//	dev, err := vsock.New(vsock.Options{CID: 3, Router: &mux})
//	go dev.Forward(tcpListener, 2331)  // and from the host to the driver
//	go dev.ServeUnix(unixListener)     // the same, with the port in the first line
//
// [Stream] connections carry bytes. [Seqpacket] connections, where the driver knows them, carry
// messages: a Write is one, a Read is one.
//
// # Who waits for whom
//
// Each side says how many bytes it has room for and how many it has consumed (5.10.6.3); the
// other never sends more. Write copies straight into the driver's receive buffers and returns
// when all of it is there: nothing is queued on this side, and a driver that does not read, or
// gives no buffers, stalls Write and nothing else. The connections with something to send take
// turns, a packet each.
//
// The driver's packets are taken at once, whatever the applications do, and whether or not there
// are receive buffers. Data go straight to a Read that waits, or into memory of the connection's
// own, up to its window. An application that does not read fills its window and stalls its own
// connection.
//
// # How a connection ends
//
// Close tells the driver that neither direction goes on, and gives it [Options].Linger to agree,
// with an RST; then the connection is reset. A driver that closes gets its RST as soon as it
// says so: the data that it sent are here by then, and can be read to the end. After CloseWrite
// and CloseRead, or their like on the driver's side, one direction goes on. An RST out of the blue
// is ECONNRESET, after the data that came before it.
//
// When the driver resets the device, all connections end like that. Listeners, the Router and
// what they forward to stay for the next driver.
//
// A monitor that is killed takes its ends of all connections with it, and what was on the way to
// them. Its successor, which the driver does not notice otherwise, cannot know them: it tells the
// driver so, by the event TRANSPORT_RESET (5.10.6.7), on which Linux resets its sockets. Packets
// that the driver sends until it has heard of this are answered with RST. The queues are
// completed in order, so the successor goes on where the rings say, and a request for a
// connection that the predecessor took and did not return is simply served.
// [Device.SetCID] has the driver start over in the same way.
//
// # What it costs, and what it can cost
//
// No packet makes garbage, and an idle connection has no buffers: about 1 KiB, 4 KiB with a
// goroutine that reads, 5 KiB joined with a socket of the host's. Memory follows what waits in a
// connection, up to its window; the windows of all connections together are bounded by
// [Options].Memory. Each begins with its share of half of that, and is doubled, from the other
// half and up to [Options].Window, when it is made use of.
//
// A driver can have [Options].MaxConns connections, those included that an application of ours
// has not closed yet, and MaxOpening half-open ones; 1024 answers to packets of no connection
// wait for receive buffers, and then its packets wait, too.
//
// # What the driver does wrong
//
// Packets from an address that is not the driver's, or shorter than a header, are dropped. What
// is of an unknown type, for another address than the host's, or for no connection, is answered
// with RST. A driver that overruns a window, lies about lengths, claims to have consumed what was
// never sent, or sends what makes no sense at that point, loses that connection, and no other.
// All of it is counted ([Stats]); the first of a session is logged.
package vsock
