package main

import (
	"errors"
	"io"
	"os"

	"github.com/hypervisorless/virtio/backend/p9"
)

// fileShares are directories that the machine is to have.
type fileShares struct {
	root, share string // or empty

	devices           []device
	rootTag, shareTag string // of the devices
	exports           []io.Closer
}

// open makes a 9P device of each.
func (s *fileShares) open() error {
	for _, x := range []struct {
		dir, name string
		tag       *string
	}{{s.root, "root", &s.rootTag}, {s.share, "share", &s.shareTag}} {
		if x.dir == "" {
			continue
		}
		if err := s.add(x.dir, x.name); err != nil {
			return errors.Join(err, s.close())
		}
		*x.tag = x.name
	}
	return nil
}

func (s *fileShares) add(dir, name string) error {
	var o p9.DirOptions
	if os.Geteuid() != 0 {
		o.Squash = &p9.Owner{} // what is yours is the machine's root's
	}
	export, err := p9.Dir(dir, o)
	if err != nil {
		return err
	}
	s.exports = append(s.exports, export)
	d, err := p9.New(p9.Options{Tag: name, Attacher: export})
	if err != nil {
		return err
	}
	s.devices = append(s.devices, device{name, d})
	return nil
}

// close gives the directories back. Their devices are served no more.
func (s *fileShares) close() error {
	var all error
	for _, e := range s.exports {
		all = errors.Join(all, e.Close())
	}
	return all
}
