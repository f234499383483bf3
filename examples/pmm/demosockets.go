package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// Ports of the demo: one that the front-end serves, and one of the host's that it dials.
const (
	greetPort   = 2331
	serviceName = 80
)

// service is a program of the host's that says the same to everybody.
type service struct {
	net.Listener
	says string
}

func newService(says string) (*service, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &service{l, says}
	go s.serve()
	return s, nil
}

func (s *service) serve() {
	for {
		c, err := s.Accept()
		if err != nil {
			return
		}
		fmt.Fprint(c, s.says)
		c.Close()
	}
}

// prepareSockets finds two TCP ports of this machine's: one for a service, and one that the
// monitor is to forward. Nobody else should take the latter before it does.
func (d *demo) prepareSockets() (err error) {
	if d.service, err = newService("a service of the host, by TCP, wishes you well"); err != nil {
		return err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.forward = free.Addr().String()
	d.flags = append(d.flags, "-device",
		fmt.Sprintf("vsock,cid=3,forward=tcp:%s:%d,reverse=%d:tcp:%s", d.forward, greetPort, serviceName, d.service.Addr()))
	return free.Close()
}

// sockets has each side reach the other by TCP, of which neither the front-end nor the ring knows.
func (d *demo) sockets(ctx context.Context) error {
	a, err := d.order(ctx, order{Do: "dial"})
	if err != nil {
		return err
	}
	if a.Text != d.service.says {
		return fmt.Errorf("sockets: %q was said and %q was heard", d.service.says, a.Text)
	}
	d.line(d.theFrontEnd(), "dials port %d of the host and hears: %s", serviceName, a.Text)
	c, err := net.Dial("tcp", d.forward)
	if err != nil {
		return fmt.Errorf("sockets: %w", err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	heard, err := io.ReadAll(c)
	if err != nil {
		return fmt.Errorf("sockets: %w", err)
	}
	if want := greeting(d.front.pid()); string(heard) != want {
		return fmt.Errorf("sockets: %q was to be said and %q was heard", want, heard)
	}
	d.line("host", "connects to %s and hears: %s", d.forward, heard)
	return nil
}

func greeting(pid int) string { return fmt.Sprintf("process %d serves port %d", pid, greetPort) }
