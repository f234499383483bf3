package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/hypervisorless/virtio/backend/vsock"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
)

// linux serves the socket device until ctx ends: the listeners lead to the shell and the page of
// the RTOS, and a port of ours tells the time.
func linux(ctx context.Context, region *shmem.Region, line notify.Line, listeners []net.Listener) error {
	var mux vsock.Mux
	mux.Handle(clockPort, clock)
	dev, err := vsock.New(vsock.Options{CID: cid, Router: &mux})
	if err != nil {
		return err
	}
	for i, port := range []uint32{shellPort, pagePort} {
		go dev.Forward(listeners[i], port)
	}
	bus, err := mmio.NewBus(mmio.Options{
		Region: region, Addr: windowAddr, Line: line, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	if err := bus.Add("vsock", dev, 0); err != nil {
		return err
	}
	return bus.Run(ctx)
}

// clock is a service in Go: a function that is called with each connection.
func clock(c net.Conn) { fmt.Fprintln(c, time.Now().UTC().Format(time.RFC3339)) }
