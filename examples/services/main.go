// Command services shows App Services over sockets between a processor with an RTOS and the one
// with Linux beside it: a shell and a web page that the RTOS serves, and a clock that it asks
// Linux for.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
)

// What both sides have to agree on.
const (
	windowAddr = 0x37000000
	windowSize = 4 << 20

	cid       = 3  // the address of the RTOS
	shellPort = 23 // of the RTOS
	pagePort  = 80 // of the RTOS
	clockPort = 37 // of Linux
)

func main() {
	side := flag.String("side", "both", "which side to be: linux, rtos, or both in one process")
	window := flag.String("window", "/dev/shm/services-window", "the shared memory of two processes")
	bell := flag.String("doorbell", "/tmp/services-bell", "the socket of two processes")
	shell := flag.String("shell", "127.0.0.1:2323", "where Linux listens for who wants the shell")
	page := flag.String("page", "127.0.0.1:8080", "where Linux listens for browsers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *side, *window, *bell, *shell, *page, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "services:", err)
		os.Exit(1)
	}
}

// run is one side, or both, until ctx ends.
func run(ctx context.Context, side, window, bell, shell, page string, out io.Writer) error {
	open := func() (*shmem.Region, error) { return shmem.OpenFile(window, windowSize) }
	var host, guest func() (notify.Line, error)
	switch side {
	case "linux":
		host = func() (notify.Line, error) { return notify.ListenUnix(bell) }
	case "rtos":
		guest = func() (notify.Line, error) { return notify.DialUnix(bell) }
	case "both":
		open = func() (*shmem.Region, error) { return shmem.NewMemfd("services", windowSize) }
		a, b := notify.NewPair()
		host, guest = func() (notify.Line, error) { return a, nil }, func() (notify.Line, error) { return b, nil }
	default:
		return fmt.Errorf("-side %q: accepted are linux, rtos, both", side)
	}
	region, err := open()
	if err != nil {
		return err
	}
	defer region.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan error, 2)
	running := 0
	start := func(dial func() (notify.Line, error), serve func(notify.Line) error) {
		running++
		go func() {
			defer cancel() // one side alone is of no use here
			line, err := dial()
			if err == nil {
				err = errors.Join(serve(line), line.Close())
			}
			over <- err
		}()
	}
	if host != nil {
		listeners, err := listen(shell, page)
		if err != nil {
			return err
		}
		for _, l := range listeners {
			defer l.Close()
		}
		fmt.Fprintf(out, "shell: nc %s\npage: http://%s/\n", listeners[0].Addr(), listeners[1].Addr())
		start(host, func(line notify.Line) error { return linux(ctx, region, line, listeners) })
	}
	if guest != nil {
		start(guest, func(line notify.Line) error { return rtos(ctx, region, line) })
	}
	for range running {
		err = errors.Join(err, <-over)
	}
	return err
}

func listen(addresses ...string) (all []net.Listener, err error) {
	for _, a := range addresses {
		l, err := net.Listen("tcp", a)
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}
