package vsock

import (
	"context"
	"net"

	hostvsock "github.com/mdlayher/vsock"
)

// HostRouter joins connections of the driver's with AF_VSOCK sockets of this machine: port for
// port, to a CID that the host's kernel knows. 1 is this machine itself and needs the kernel's
// vsock_loopback, 2 is the hypervisor of a host that is a virtual machine itself. Streams only.
//
// For the other way, give a listener of that family to [Device.Forward].
func HostRouter(cid uint32) Router {
	return Dialer(func(ctx context.Context, r Request) (net.Conn, error) {
		if r.Type != Stream {
			return nil, errType
		}
		return hostvsock.DialContext(ctx, cid, r.Port, nil)
	})
}
