package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// board is what the services are about.
type board struct {
	sockets *driver.Vsock
	started time.Time
	led     atomic.Bool
	shells  atomic.Int64 // sessions so far
	pages   atomic.Int64 // views so far
}

// rtos is the firmware: it finds the socket device and serves its two ports until ctx ends.
func rtos(ctx context.Context, region *shmem.Region, line notify.Line) error {
	w, err := driver.Open(driver.Options{Region: region, Addr: windowAddr, Line: line})
	if err != nil {
		return err
	}
	defer w.Close()
	d, err := w.Find(ctx, virtio.IDSocket, 0)
	if err != nil {
		return err
	}
	b := &board{started: time.Now()}
	if b.sockets, err = driver.StartVsock(ctx, d); err != nil {
		return err
	}
	defer b.sockets.Close()
	shell, err := b.sockets.Listen(shellPort)
	if err != nil {
		return err
	}
	page, err := b.sockets.Listen(pagePort)
	if err != nil {
		return err
	}
	over := make(chan error, 2)
	go func() { over <- serveShell(shell, b) }()
	go func() { over <- http.Serve(page, pageOf(b)) }() // as over any other socket
	select {
	case err = <-over:
		return err
	case <-ctx.Done():
		return nil
	}
}

// time asks Linux, since the board has no clock.
func (b *board) time() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := b.sockets.Dial(ctx, clockPort)
	if err != nil {
		return "", err
	}
	defer c.Close()
	now, err := io.ReadAll(c)
	return strings.TrimSpace(string(now)), err
}

func (b *board) uptime() string { return time.Since(b.started).Round(time.Millisecond).String() }

func (b *board) ledState() string {
	if b.led.Load() {
		return "on"
	}
	return "off"
}

// serveShell accepts until the listener is closed.
func serveShell(l net.Listener, b *board) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, driver.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("shell: %w", err)
		}
		go shell(c, b)
	}
}
