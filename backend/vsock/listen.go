package vsock

import (
	"net"
	"sync"
)

// backlog is how many connections wait for Accept; further ones are refused.
const backlog = 128

// Listener is a net.Listener for a port of the host's.
type Listener struct {
	d    *Device
	addr address

	mu     sync.Mutex
	claims int // connections that are to come to accept
	accept chan *Conn
	closed chan struct{}
	over   bool
}

var _ net.Listener = (*Listener)(nil)

// Listen takes the stream connections that the driver opens to a port of the host's, before the
// Router is asked, and whichever session they belong to. Someone who does not Accept them does
// not hold up others: beyond 128 they are refused. The error is an EADDRINUSE when the port is
// taken.
func (d *Device) Listen(port uint32) (*Listener, error) { return d.listen(port, Stream) }

// ListenSeqpacket is [Device.Listen] for connections of type [Seqpacket].
func (d *Device) ListenSeqpacket(port uint32) (*Listener, error) { return d.listen(port, Seqpacket) }

func (d *Device) listen(port uint32, kind Type) (*Listener, error) {
	a := address{local: port, kind: kind}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listeners[a] != nil {
		return nil, &net.OpError{Op: "listen", Net: "vsock", Addr: Addr{hostCID, port}, Err: errInUse}
	}
	l := &Listener{d: d, addr: a, accept: make(chan *Conn, backlog), closed: make(chan struct{})}
	d.listeners[a] = l
	return l, nil
}

// route has a place in the backlog for a connection.
func (l *Listener) route() (func(*Conn), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.over:
		return nil, ErrNoRoute
	case l.claims == backlog:
		return nil, errFull
	}
	l.claims++
	return l.deliver, nil
}

func (l *Listener) deliver(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		c.Reset()
		return
	}
	l.accept <- c // never full: it was claimed
}

// Accept implements net.Listener; the net.Conn is a [Conn].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		l.mu.Lock()
		l.claims--
		l.mu.Unlock()
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "vsock", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

// Close implements net.Listener. Connections that were not accepted are reset.
func (l *Listener) Close() error {
	l.d.mu.Lock()
	if l.d.listeners[l.addr] == l {
		delete(l.d.listeners, l.addr)
	}
	l.d.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return &net.OpError{Op: "close", Net: "vsock", Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.over = true
	close(l.closed)
	for {
		select {
		case c := <-l.accept:
			c.Reset()
		default:
			return nil
		}
	}
}

// Addr implements net.Listener: an [Addr].
func (l *Listener) Addr() net.Addr { return Addr{hostCID, l.addr.local} }
