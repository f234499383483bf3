package vsock

import (
	"context"
	"net"
	"sync"
)

// Mux is a [Router] that goes by ports. The zero value has none, and refuses everything. Its
// methods are safe for concurrent use.
type Mux struct {
	mu       sync.Mutex
	ports    map[uint32]Router
	fallback Router
}

var _ Router = (*Mux)(nil)

// Handle serves the stream connections to a port with a function, on a goroutine for each. The
// connection is closed when it returns, and reset when it panics. A nil function removes the port.
func (m *Mux) Handle(port uint32, serve func(net.Conn)) {
	if serve == nil {
		m.Via(port, nil)
		return
	}
	m.Via(port, RouterFunc(func(_ context.Context, r Request) (func(*Conn), error) {
		if r.Type != Stream {
			return nil, ErrNoRoute
		}
		return func(c *Conn) {
			serve(c)
			c.Close()
		}, nil
	}))
}

// Via hands the connections to a port to another Router; nil removes the port.
func (m *Mux) Via(port uint32, r Router) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r == nil {
		delete(m.ports, port)
		return
	}
	if m.ports == nil {
		m.ports = make(map[uint32]Router)
	}
	m.ports[port] = r
}

// Otherwise hands the connections to all other ports to a Router; nil refuses them.
func (m *Mux) Otherwise(r Router) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fallback = r
}

// Route implements Router.
func (m *Mux) Route(ctx context.Context, r Request) (func(*Conn), error) {
	m.mu.Lock()
	next, ok := m.ports[r.Port]
	if !ok {
		next = m.fallback
	}
	m.mu.Unlock()
	if next == nil {
		return nil, ErrNoRoute
	}
	return next.Route(ctx, r)
}
