package main

import (
	"net"

	"github.com/hypervisorless/virtio/backend/vsock"
)

// cid is the machine's address.
const cid = 3

// shellPort is the machine's port that gives whoever connects a shell.
const shellPort = 52

// openSockets makes a vsock device whose ports are to be had through unix sockets: the machine's at
// the path, once somebody serves the listener, and ours, for the machine, at others with _PORT after it.
func openSockets(path string) (*vsock.Device, net.Listener, error) {
	d, err := vsock.New(vsock.Options{CID: cid, Router: vsock.UnixRouter(path)})
	if err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("unix", path)
	return d, l, err
}
