package vsock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// UnixRouter joins connections of the driver's with unix sockets: one to port 52 with the socket
// PATH_52, of type SOCK_STREAM or SOCK_SEQPACKET as the connection is. It is half of a
// convention that Firecracker began; [Device.ServeUnix] is the other half.
func UnixRouter(path string) Router {
	return Dialer(func(ctx context.Context, r Request) (net.Conn, error) {
		network := "unix"
		if r.Type == Seqpacket {
			network = "unixpacket"
		}
		var d net.Dialer
		return d.DialContext(ctx, network, path+"_"+strconv.FormatUint(uint64(r.Port), 10))
	})
}

// greeting is how long a client has to say where it wants to go.
const greeting = 10 * time.Second

// ServeUnix accepts connections on a unix socket whose clients say which port of the driver's
// they want: one sends "CONNECT 52\n", gets "OK 1073741825\n" with the port on this side, and is
// joined with a stream connection to port 52. A client is disconnected when that cannot be had.
// ServeUnix returns nil when l is closed, and what is joined by then lives on; or the error of
// Accept.
func (d *Device) ServeUnix(l net.Listener) error {
	return d.accept(l, func(host net.Conn) {
		if err := d.greet(host); err != nil {
			d.log().Debug("cannot connect a client of the unix socket", "err", err)
			host.Close()
		}
	})
}

// greet serves one client.
func (d *Device) greet(host net.Conn) error {
	host.SetDeadline(time.Now().Add(greeting))
	port, err := readConnect(host)
	if err != nil {
		return err
	}
	c, err := d.Dial(context.Background(), port)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(host, "OK %d\n", c.addr.local); err != nil {
		c.Reset()
		return err
	}
	host.SetDeadline(time.Time{})
	Join(host)(c)
	return nil
}

var errGreeting = errors.New(`a client has to begin with "CONNECT <port>\n"`)

// readConnect reads the line, and nothing behind it: that is for the driver.
func readConnect(host net.Conn) (port uint32, err error) {
	var line [len("CONNECT 4294967295\n")]byte
	for i := range line {
		if _, err := host.Read(line[i : i+1]); err != nil {
			return 0, err
		}
		if line[i] != '\n' {
			continue
		}
		number, ok := bytes.CutPrefix(line[:i], []byte("CONNECT "))
		n, err := strconv.ParseUint(string(number), 10, 32)
		if !ok || err != nil {
			return 0, errGreeting
		}
		return uint32(n), nil
	}
	return 0, errGreeting
}
