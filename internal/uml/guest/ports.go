package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hypervisorless/virtio/internal/uml/talk"
)

// ports moves bytes both ways through each of a console's named ports, and then says how large
// the first one's window became.
var _ = job("ports", func(g *guest) error {
	var args talk.PortsArgs
	if err := g.args(&args); err != nil {
		return err
	}
	if err := bulk(g, args); err != nil {
		return err
	}
	if err := login(); err != nil {
		return err
	}
	if err := g.say("logged in", nil); err != nil {
		return err
	}
	return resizes(g, 2)
})

// bulk is ports without the window.
var _ = job("bulk", func(g *guest) error {
	var args talk.PortsArgs
	if err := g.args(&args); err != nil {
		return err
	}
	return bulk(g, args)
})

func bulk(g *guest, args talk.PortsArgs) error {
	for _, name := range args.Names {
		if err := g.hear("port", nil); err != nil { // the driver hears of a port when it is told
			return err
		}
		bulk, err := talkOver(name, args.Bytes)
		if err != nil {
			return fmt.Errorf("port %s: %w", name, err)
		}
		if err := g.say("port", bulk); err != nil {
			return err
		}
	}
	return nil
}

func talkOver(name string, n int) (talk.Bulk, error) {
	file, err := portFile(name)
	if err != nil {
		return talk.Bulk{}, err
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return talk.Bulk{}, err
	}
	defer f.Close()
	return bothWays(f, n)
}

// portFile finds a port as udev would for its links in /dev/virtio-ports. The driver is told of
// its ports one by one, after it is loaded.
func portFile(name string) (string, error) {
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		names, err := portNames()
		if err != nil {
			return "", err
		}
		if device, ok := names[name]; ok {
			return filepath.Join("/dev", device), nil
		}
		if time.Since(begin) > 10*time.Second {
			return "", fmt.Errorf("not among %v", names)
		}
	}
}

// portNames are the devices of the ports that have names.
func portNames() (map[string]string, error) {
	files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, f := range files {
		text, err := readTrimmed(f)
		if err != nil {
			return nil, err
		}
		names[text] = filepath.Base(filepath.Dir(f))
	}
	return names, nil
}
