package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/hypervisorless/virtio/backend/p9"
	"github.com/hypervisorless/virtio/virtio"
)

const p9Syntax = "9p,tag=TAG,dir=PATH[,ro][,squash=UID:GID]"

var p9Keys = []string{"tag", "dir", "ro", "squash"}

func parseP9(d *device) error {
	s := d.spec
	tag, _ := s.take("tag")
	dir, _ := s.take("dir")
	switch {
	case tag == "":
		return s.errorf("tag=TAG is needed, the name to mount it by: %s", p9Syntax)
	case len(tag) > p9.MaxTag:
		return s.errorf("a tag has %d bytes at most", p9.MaxTag)
	case dir == "":
		return s.errorf("dir=PATH is needed, the directory to share: %s", p9Syntax)
	}
	var o p9.DirOptions
	value, ok := s.take("ro")
	if o.ReadOnly = ok; value != "" {
		return s.errorf("ro takes no value")
	}
	if value, ok = s.take("squash"); ok {
		if o.Squash, ok = parseOwner(value); !ok {
			return s.errorf("squash=%s: a user and a group are two numbers, as 1000:1000", value)
		}
	}
	d.open = func(*monitor) (virtio.Backend, func() error, error) { return openP9(d, tag, dir, o) }
	return nil
}

func parseOwner(text string) (*p9.Owner, bool) {
	user, group, _ := strings.Cut(text, ":")
	uid, err := strconv.ParseUint(user, 10, 32)
	gid, err2 := strconv.ParseUint(group, 10, 32)
	if errors.Join(err, err2) != nil {
		return nil, false
	}
	return &p9.Owner{UID: uint32(uid), GID: uint32(gid)}, true
}

func openP9(d *device, tag, dir string, o p9.DirOptions) (virtio.Backend, func() error, error) {
	export, err := p9.Dir(dir, o)
	if err != nil {
		return nil, nil, err
	}
	dev, err := p9.New(p9.Options{Tag: tag, Attacher: export})
	if err != nil {
		return nil, nil, errors.Join(err, export.Close())
	}
	d.files = dev.Stats
	return dev, export.Close, nil
}
