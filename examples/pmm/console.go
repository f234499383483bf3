package main

import (
	"strings"

	"github.com/hypervisorless/virtio/backend/console"
	"github.com/hypervisorless/virtio/virtio"
)

const consoleSyntax = "console with one of stdio[,escape=^]], pty[=LINK], unix=PATH, file=PATH, " +
	"and more ports as port=NAME:pty[=LINK], port=NAME:unix=PATH, port=NAME:file=PATH"

var consoleKeys = []string{"stdio", "escape", "pty", "unix", "file", "port"}

// hostEnd is one port as the options describe it, not yet opened.
type hostEnd struct {
	name   string // "" for port 0
	kind   string // stdio, pty, unix or file
	path   string // of the socket, the file or the link; a pty may do without
	escape byte
}

func parseConsole(d *device) error {
	s := d.spec
	first, err := parseFirst(s)
	if err != nil {
		return err
	}
	ends := []hostEnd{first}
	names := map[string]bool{}
	for _, text := range s.all("port") {
		e, err := parsePort(s, text)
		if err != nil {
			return err
		}
		if names[e.name] {
			return s.errorf("port=%s: the name is taken by another port", text)
		}
		names[e.name] = true
		ends = append(ends, e)
	}
	d.stdio = first.kind == "stdio"
	d.open = func(m *monitor) (virtio.Backend, func() error, error) { return openConsole(m, d, ends) }
	return nil
}

// parseFirst takes the options of port 0.
func parseFirst(s *spec) (hostEnd, error) {
	var ends []hostEnd
	for _, kind := range []string{"stdio", "pty", "unix", "file"} {
		value, ok := s.take(kind)
		if !ok {
			continue
		}
		if (kind == "unix" || kind == "file") && value == "" {
			return hostEnd{}, s.errorf("%s needs a path: %s=PATH", kind, kind)
		}
		if kind == "stdio" && value != "" {
			return hostEnd{}, s.errorf("stdio takes no value")
		}
		ends = append(ends, hostEnd{kind: kind, path: value})
	}
	if len(ends) != 1 {
		return hostEnd{}, s.errorf("port 0 needs exactly one host's end: %s", consoleSyntax)
	}
	end := ends[0]
	key, ok := s.take("escape")
	if !ok {
		end.escape = console.DefaultEscape
		return end, nil
	}
	if end.kind != "stdio" {
		return end, s.errorf("escape belongs to stdio")
	}
	if end.escape, ok = parseKey(key); !ok {
		return end, s.errorf("escape=%s: a key is one character, or ^ and one for a control key, as ^]", key)
	}
	return end, nil
}

// parseKey is the byte a terminal sends for a key written as stty(1) writes it.
func parseKey(key string) (byte, bool) {
	if len(key) == 1 && key[0] > ' ' && key[0] < 0x7f {
		return key[0], true
	}
	if len(key) == 2 && key[0] == '^' {
		c := strings.ToUpper(key)[1]
		if c > '@' && c <= '_' { // ^@ sends 0, which stands for the default
			return c ^ 0x40, true
		}
	}
	return 0, false
}

// parsePort takes NAME:KIND[=PATH].
func parsePort(s *spec, text string) (hostEnd, error) {
	name, what, _ := strings.Cut(text, ":")
	kind, path, given := strings.Cut(what, "=")
	switch {
	case name == "":
		return hostEnd{}, s.errorf("port=%s: a port has a name: %s", text, consoleSyntax)
	case kind != "pty" && kind != "unix" && kind != "file":
		return hostEnd{}, s.errorf("port=%s: accepted after the name are pty[=LINK], unix=PATH, file=PATH", text)
	case path == "" && (given || kind != "pty"):
		return hostEnd{}, s.errorf("port=%s: %s needs a path: %s:%s=PATH", text, kind, name, kind)
	}
	return hostEnd{name: name, kind: kind, path: path}, nil
}

// openConsole opens the host's end of every port, or of none.
func openConsole(m *monitor, d *device, ends []hostEnd) (virtio.Backend, func() error, error) {
	var ports []console.Port
	fail := func(err error) (virtio.Backend, func() error, error) {
		for _, p := range ports {
			p.Endpoint.Close()
		}
		return nil, nil, err
	}
	for _, e := range ends {
		end, err := e.open(m, d.name)
		if err != nil {
			return fail(err)
		}
		ports = append(ports, console.Port{Name: e.name, Endpoint: end})
	}
	dev, err := console.New(console.Options{Ports: ports})
	if err != nil {
		return fail(err)
	}
	d.ports = dev.Stats
	return dev, dev.Close, nil
}

func (e hostEnd) open(m *monitor, device string) (console.Endpoint, error) {
	switch e.kind {
	case "stdio":
		return console.OpenStdio(console.StdioOptions{Escape: e.escape, OnEscape: m.quit})
	case "unix":
		return console.ListenUnix(e.path)
	case "file":
		return console.OpenFile(e.path)
	}
	pty, err := console.OpenPTY(e.path)
	if err != nil {
		return nil, err
	}
	// The only place where its name can be learnt.
	m.log.Info("console on a pseudo terminal", "device", device, "port", e.name, "path", pty.Path())
	return pty, nil
}
