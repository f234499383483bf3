package driver

import (
	"fmt"
	"net"
	"sync"
	"syscall"
)

// VsockListener is a port of this side's: a net.Listener.
type VsockListener struct {
	v    *Vsock
	port uint32

	conns chan *VsockConn
	over  chan struct{}
	once  sync.Once
	err   error // before over is closed
}

var _ net.Listener = (*VsockListener)(nil)

// vsockBacklog is how many connections wait for Accept.
const vsockBacklog = 128

// Listen takes the connections that the host opens to a port. When it has too many that were not
// accepted yet, further ones are refused.
func (v *Vsock) Listen(port uint32) (*VsockListener, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := v.err
	if v.listeners[port] != nil || port == vsockNobodyPort {
		err = syscall.EADDRINUSE
	}
	if err != nil {
		return nil, v.named(fmt.Sprintf("listen on port %d", port), err)
	}
	l := &VsockListener{v: v, port: port, conns: make(chan *VsockConn, vsockBacklog), over: make(chan struct{})}
	v.listeners[port] = l
	return l, nil
}

// incoming takes a connection, unless it cannot.
func (l *VsockListener) incoming(life *vsockLife, h *vsockHeader) bool {
	v := l.v
	v.mu.Lock()
	if v.life != life || v.listeners[l.port] != l || len(l.conns) == cap(l.conns) {
		v.mu.Unlock()
		return false
	}
	c := v.newConn(life, vsockPair{h.dstPort, h.srcPort})
	v.mu.Unlock()
	c.mu.Lock()
	c.open, c.peerWindow, c.peerForwarded = true, h.window, h.forwarded
	close(c.opened)
	c.post(vsockResponse, 0)
	c.mu.Unlock()
	l.conns <- c // there is room: packets are taken one at a time
	select {
	case <-l.over: // and Close may have looked before it was there
		l.drain()
	default:
	}
	return true
}

// Accept is the next connection, a VsockConn.
func (l *VsockListener) Accept() (net.Conn, error) {
	select {
	case <-l.over:
	default:
		select {
		case c := <-l.conns:
			return c, nil
		case <-l.over:
		}
	}
	return nil, l.v.named(fmt.Sprintf("accept on port %d", l.port), l.err)
}

// Close ends Accept. Connections that were not accepted are reset.
func (l *VsockListener) Close() error {
	v := l.v
	v.mu.Lock()
	if v.listeners[l.port] == l {
		delete(v.listeners, l.port)
	}
	v.mu.Unlock()
	l.end(net.ErrClosed)
	l.drain()
	return nil
}

// drain resets what nobody will accept.
func (l *VsockListener) drain() {
	for {
		select {
		case c := <-l.conns:
			c.mu.Lock()
			c.abort(errVsockReset)
			c.mu.Unlock()
		default:
			return
		}
	}
}

func (l *VsockListener) end(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.over)
	})
}

// Addr is a VsockAddr.
func (l *VsockListener) Addr() net.Addr { return VsockAddr{l.v.CID(), l.port} }
