package vsock

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// TCP joins connections of the driver's, whatever their port, with a TCP address that the host
// can reach. Streams only. Give it a port of its own with [Mux.Via].
func TCP(address string) Router {
	return Dialer(func(ctx context.Context, r Request) (net.Conn, error) {
		if r.Type != Stream {
			return nil, errType
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	})
}

// Forward accepts connections on the host, of whatever kind the listener is, and joins each with
// a stream connection to a port of the driver's. A client is disconnected when that cannot be
// had. Forward returns nil when l is closed, and what is joined by then lives on; or the error
// of Accept.
func (d *Device) Forward(l net.Listener, port uint32) error {
	return d.accept(l, func(host net.Conn) {
		c, err := d.Dial(context.Background(), port)
		if err != nil {
			d.log().Debug("cannot forward a connection", "port", port, "err", err)
			host.Close()
			return
		}
		Join(host)(c)
	})
}

// accept serves what comes to a listener on the host.
func (d *Device) accept(l net.Listener, serve func(net.Conn)) error {
	for {
		host, err := l.Accept()
		switch {
		case err == nil:
			go serve(host)
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ECONNABORTED):
			time.Sleep(50 * time.Millisecond) // others have to let go of something first
		default:
			return err
		}
	}
}
