package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
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
	page, err := get(ctx, "http://"+d.forward+"/")
	if err != nil {
		return fmt.Errorf("sockets: %w", err)
	}
	if want := greeting(d.front.pid()); page != want {
		return fmt.Errorf("sockets: %q was to be served and %q was read", want, page)
	}
	d.line("host", "looks at http://%s/ and reads: %s", d.forward, page)
	return nil
}

// get reads a page of the front-end's, as any browser does.
func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	request.Close = true // the front-end is about to be killed
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	return string(page), err
}

func greeting(pid int) string {
	return fmt.Sprintf("process %d serves its status page at port %d", pid, greetPort)
}
