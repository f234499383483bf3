package vsock_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/hypervisorless/virtio/backend/vsock"
)

// A device with a greeting at port 7, an SSH server of the host's at port 22, and unix
// sockets at all others. Given to a transport, it waits for a driver.
func Example() {
	var mux vsock.Mux
	mux.Handle(7, func(c net.Conn) { fmt.Fprintln(c, "hello", c.RemoteAddr()) })
	mux.Via(22, vsock.TCP("127.0.0.1:22"))
	mux.Otherwise(vsock.UnixRouter("/run/guest.sock"))
	dev, err := vsock.New(vsock.Options{CID: 3, Router: &mux})
	if err != nil {
		fmt.Println(err)
		return
	}
	ln, err := dev.Listen(80) // for http.Serve, say
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()
	fmt.Println(dev.Info().ID, "of", dev.CID(), "listens at", ln.Addr())

	_, err = dev.Dial(context.Background(), 2331)
	fmt.Println(err)
	fmt.Println(errors.Is(err, syscall.ENETUNREACH))
	// Output:
	// vsock of 3 listens at 2:80
	// dial vsock 3:2331: no driver: network is unreachable
	// true
}
