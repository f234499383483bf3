package vsock

import (
	"context"
	"fmt"
	"net"
	"runtime/debug"
)

// Request is a connection that the driver asks for.
type Request struct {
	Port   uint32 // the host's, which the driver wants to reach
	Remote Addr   // who asks
	Type   Type
}

// A Router says who serves the connections that the driver opens. [Mux], [Dialer] and the
// functions that return one are put together as an application needs them.
type Router interface {
	// Route finds out who serves a request, and connects to whomever that takes: it may wait as
	// long as ctx does. Only when it returns does the driver get its answer. An error, which says
	// why not, refuses the connection. Otherwise the function is called once, on a goroutine of
	// its own; from then on the Conn is its to Close, and it may return before that. If the
	// driver changed its mind meanwhile the Conn is one that has ended.
	// Route is called concurrently.
	Route(ctx context.Context, r Request) (serve func(*Conn), err error)
}

// RouterFunc is a function that is a [Router].
type RouterFunc func(ctx context.Context, r Request) (serve func(*Conn), err error)

// Route implements Router.
func (f RouterFunc) Route(ctx context.Context, r Request) (func(*Conn), error) { return f(ctx, r) }

// Dialer is a [Router] that joins each connection of the driver's with one that the function
// makes on the host's side. Type says which type of connection is meant: the function has to
// answer a [Seqpacket] request with a connection whose reads and writes are messages, or with
// an error.
type Dialer func(ctx context.Context, r Request) (net.Conn, error)

// Route implements Router.
func (f Dialer) Route(ctx context.Context, r Request) (func(*Conn), error) {
	host, err := f(ctx, r)
	if err != nil {
		return nil, err
	}
	return Join(host), nil
}

// route serves a connection that the driver asked for.
func (c *Conn) route(ctx context.Context) {
	defer func() {
		if r := recover(); r != nil { // on our goroutine it would cost the whole process
			c.life.log.Error("the service of a port panicked", "port", c.addr.local, "err", r, "stack", string(debug.Stack()))
			c.Reset()
		}
	}()
	serve, err := c.d.find(ctx, Request{c.addr.local, Addr{c.cid, c.addr.remote}, c.kind})
	if err != nil {
		c.d.count.refused.Add(1)
		c.life.log.Debug("connection refused", "port", c.addr.local, "err", err)
		c.Reset()
		return
	}
	c.mu.Lock()
	if c.phase == requested {
		c.opened()
		c.send(sendResponse)
	}
	cancel := c.cancel
	c.mu.Unlock()
	cancel()
	serve(c)
}

// find is who serves a request: a Listener, or whom the Router names.
func (d *Device) find(ctx context.Context, r Request) (func(*Conn), error) {
	d.mu.Lock()
	l := d.listeners[address{local: r.Port, kind: r.Type}]
	d.mu.Unlock()
	switch {
	case l != nil:
		return l.route()
	case d.opts.Router == nil:
		return nil, ErrNoRoute
	}
	serve, err := d.opts.Router.Route(ctx, r)
	if err == nil && serve == nil {
		err = fmt.Errorf("the router has nobody for port %d: %w", r.Port, errRefused)
	}
	return serve, err
}

// abandon ends a connection that nobody got to know.
func (c *Conn) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.ended(errReset, false)
	c.settle()
}
