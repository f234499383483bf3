package main

import (
	"fmt"
	"strings"

	"github.com/hypervisorless/virtio/backend/console"
	"github.com/hypervisorless/virtio/backend/p9"
	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/backend/vsock"
	"github.com/hypervisorless/virtio/virtio"
)

// device is one -device, checked but not opened.
type device struct {
	spec  *spec
	name  string
	id    virtio.DeviceID
	mem   uint64 // block size in the dtb layout; 0: the usual one
	stdio bool   // its host's end is the terminal
	// open makes the backend and opens its host's end; closer may be nil.
	open func(*monitor) (backend virtio.Backend, closer func() error, err error)

	// Statistics of what is open, each of one kind.
	ports   func() []console.PortStats
	files   func() p9.Stats
	sockets func() vsock.Stats
}

// kind is what -device can name.
type kind struct {
	name   string
	syntax string
	id     virtio.DeviceID
	keys   []string
	parse  func(*device) error // takes the options and sets open
}

var kinds = []kind{
	{"rng", "rng[,rate=BYTES]", virtio.IDEntropy, []string{"rate"}, parseRNG},
	{"console", consoleSyntax, virtio.IDConsole, consoleKeys, parseConsole},
	{"9p", p9Syntax, virtio.ID9P, p9Keys, parseP9},
	{"vsock", vsockSyntax, virtio.IDSocket, vsockKeys, parseVsock},
}

// deviceKinds lists the kinds for messages.
func deviceKinds() string {
	var all []string
	for _, k := range kinds {
		all = append(all, k.syntax)
	}
	return strings.Join(all, "; ") + "; each takes mem=SIZE"
}

func parseDevice(text string) (*device, error) {
	s, err := parseSpec("device", text)
	if err != nil {
		return nil, err
	}
	for _, k := range kinds {
		if k.name != s.kind {
			continue
		}
		if s.addr != "" {
			return nil, s.errorf("options follow a comma: %s", k.syntax)
		}
		if err := s.accept(append(k.keys, "mem")...); err != nil {
			return nil, err
		}
		d := &device{spec: s, name: k.name, id: k.id}
		if d.mem, err = s.bytes("mem"); err != nil {
			return nil, err
		}
		if err := k.parse(d); err != nil {
			return nil, err
		}
		return d, s.done()
	}
	return nil, s.errorf("unknown device %q; accepted are %s", s.kind, deviceKinds())
}

func parseRNG(d *device) error {
	rate, err := d.spec.bytes("rate")
	if err != nil {
		return err
	}
	d.open = func(*monitor) (virtio.Backend, func() error, error) {
		return rng.New(rng.Options{Rate: rate}), nil, nil
	}
	return nil
}

// nameDevices tells devices of one kind apart in logs: console, console1, …
func nameDevices(devices []*device) {
	seen := map[string]int{}
	for _, d := range devices {
		n := seen[d.spec.kind]
		seen[d.spec.kind]++
		if n > 0 {
			d.name = fmt.Sprintf("%s%d", d.spec.kind, n)
		}
	}
}
