package main

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/hypervisorless/virtio/backend/vsock"
	"github.com/hypervisorless/virtio/virtio"
)

const vsockSyntax = "vsock,cid=N[,unix=PATH][,host], and as often as wanted forward=tcp:LISTEN:GUESTPORT and reverse=GUESTPORT:tcp:ADDRESS"

var vsockKeys = []string{"cid", "unix", "host", "forward", "reverse"}

// sockets is a socket device as the options describe it.
type sockets struct {
	cid     uint64
	unix    string // path
	host    bool
	forward []route // from where the monitor listens to a port of the front-end's
	reverse []route // from a port that the front-end dials
}

// route leads from a TCP address to a port of the front-end's, or the other way.
type route struct {
	address string
	port    uint32
}

// thisMachine is the CID by which Linux knows it (VMADDR_CID_LOCAL).
const thisMachine = 1

func parseVsock(d *device) (err error) {
	s := d.spec
	var v sockets
	text, _ := s.take("cid")
	if v.cid, err = strconv.ParseUint(text, 0, 32); err != nil || v.cid < 3 || v.cid == 1<<32-1 {
		return s.errorf("cid=N is needed, the front-end's address, from 3 to 4294967294: %s", vsockSyntax)
	}
	path, ok := s.take("unix")
	if v.unix = path; ok && path == "" {
		return s.errorf("unix needs a path: unix=PATH")
	}
	if text, v.host = s.take("host"); text != "" {
		return s.errorf("host takes no value")
	}
	for _, text := range s.all("forward") {
		r, ok := parseForward(text)
		if !ok {
			return s.errorf("forward=%s: accepted is tcp:LISTEN:GUESTPORT, as tcp:127.0.0.1:3333:2331", text)
		}
		v.forward = append(v.forward, r)
	}
	taken := map[uint32]bool{}
	for _, text := range s.all("reverse") {
		r, ok := parseReverse(text)
		if !ok {
			return s.errorf("reverse=%s: accepted is GUESTPORT:tcp:ADDRESS, as 80:tcp:127.0.0.1:8080", text)
		}
		if taken[r.port] {
			return s.errorf("reverse=%s: port %d is taken by another reverse", text, r.port)
		}
		taken[r.port] = true
		v.reverse = append(v.reverse, r)
	}
	d.open = func(m *monitor) (virtio.Backend, func() error, error) { return v.open(m, d) }
	return nil
}

// parseForward takes tcp:LISTEN:GUESTPORT.
func parseForward(text string) (r route, ok bool) {
	rest, isTCP := strings.CutPrefix(text, "tcp:")
	i := strings.LastIndexByte(rest, ':')
	if !isTCP || i < 0 {
		return r, false
	}
	return parseRoute(rest[:i], rest[i+1:])
}

// parseReverse takes GUESTPORT:tcp:ADDRESS.
func parseReverse(text string) (r route, ok bool) {
	port, address, found := strings.Cut(text, ":tcp:")
	if !found {
		return r, false
	}
	return parseRoute(address, port)
}

func parseRoute(address, port string) (route, bool) {
	_, _, err := net.SplitHostPort(address)
	n, err2 := strconv.ParseUint(port, 0, 32)
	return route{address, uint32(n)}, errors.Join(err, err2) == nil && n > 0 && n < 1<<32-1
}

// open makes the device and opens everything that listens, or nothing.
func (v sockets) open(m *monitor, d *device) (virtio.Backend, func() error, error) {
	dev, err := vsock.New(vsock.Options{CID: v.cid, Router: v.router()})
	if err != nil {
		return nil, nil, err
	}
	var listeners []net.Listener
	closeAll := func() error {
		var errs []error
		for _, l := range listeners {
			errs = append(errs, l.Close())
		}
		return errors.Join(errs...)
	}
	serve := func(l net.Listener, serve func(net.Listener) error) {
		listeners = append(listeners, l)
		go func() {
			if err := serve(l); err != nil {
				m.log.Error("no more connections from the host", "device", d.name, "listen", l.Addr().String(), "err", err)
			}
		}()
	}
	if v.unix != "" {
		l, err := listenUnix(v.unix)
		if err != nil {
			return nil, nil, err
		}
		serve(l, dev.ServeUnix)
	}
	for _, r := range v.forward {
		l, err := net.Listen("tcp", r.address)
		if err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
		m.log.Info("forwards", "device", d.name, "listen", l.Addr().String(), "port", r.port)
		serve(l, func(l net.Listener) error { return dev.Forward(l, r.port) })
	}
	d.sockets = dev.Stats
	return dev, closeAll, nil
}

// router says where the front-end's connections lead: the reversed ports first, then the unix
// sockets, and where there is none, this machine's AF_VSOCK.
func (v sockets) router() vsock.Router {
	mux := new(vsock.Mux)
	for _, r := range v.reverse {
		mux.Via(r.port, vsock.TCP(r.address))
	}
	var rest []vsock.Router
	if v.unix != "" {
		rest = append(rest, vsock.UnixRouter(v.unix))
	}
	if v.host {
		rest = append(rest, vsock.HostRouter(thisMachine))
	}
	if len(rest) > 0 {
		mux.Otherwise(firstOf(rest))
	}
	return mux
}

// firstOf asks one after the other.
func firstOf(routers []vsock.Router) vsock.Router {
	return vsock.RouterFunc(func(ctx context.Context, r vsock.Request) (serve func(*vsock.Conn), err error) {
		for _, router := range routers {
			if serve, err = router.Route(ctx, r); err == nil {
				break
			}
		}
		return serve, err
	})
}
