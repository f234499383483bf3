package vsock

import (
	"context"
	"errors"
	"net"
	"os"
)

// Dial opens a stream connection to a port of the driver's. ECONNREFUSED means that nobody
// listens there, [ErrNoDriver] that there is no driver, ENOBUFS that there are too many
// connections; ctx or the device's ConnectTimeout end the wait.
func (d *Device) Dial(ctx context.Context, port uint32) (*Conn, error) {
	return d.dial(ctx, port, Stream)
}

// DialSeqpacket is [Device.Dial] for a connection of type [Seqpacket]; EPROTONOSUPPORT when the
// driver does not know that type.
func (d *Device) DialSeqpacket(ctx context.Context, port uint32) (*Conn, error) {
	return d.dial(ctx, port, Seqpacket)
}

func (d *Device) dial(ctx context.Context, port uint32, kind Type) (*Conn, error) {
	fail := func(err error) (*Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "vsock", Addr: Addr{d.CID(), port}, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	l, err := d.current()
	if err != nil {
		return fail(err)
	}
	window := d.opts.base()
	switch {
	case kind == Stream && !l.stream, kind == Seqpacket && !l.seqpacket:
		return fail(errType)
	case kind == Seqpacket:
		window = d.opts.Window * kind.weight()
	}
	granted, ok := d.stock.open(window)
	if !ok {
		return fail(errFull)
	}
	c := newConn(l, address{remote: port}, kind, connecting, granted)
	ctx, cancel := context.WithTimeout(ctx, d.opts.ConnectTimeout)
	defer cancel()
	answered, answer := context.WithCancel(context.Background())
	c.cancel = answer
	if !l.addFree(c) {
		c.abandon()
		return fail(ErrNoDriver)
	}
	c.mu.Lock()
	if c.phase == connecting { // it may have ended already, with all the others
		c.send(sendRequest)
	}
	c.mu.Unlock()
	select {
	case <-answered.Done():
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.phase == connecting:
		c.closed = true
		c.ended(net.ErrClosed, true)
		if err = ctx.Err(); errors.Is(err, context.DeadlineExceeded) {
			err = os.ErrDeadlineExceeded // a net.Error with Timeout
		}
	case c.phase == done && c.why != nil && c.peerShut == 0:
		c.closed = true
		err = c.why
	}
	if err != nil {
		c.settle()
		return fail(err)
	}
	return c, nil
}
