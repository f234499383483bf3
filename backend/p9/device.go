package p9

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/hugelgupf/p9/p9"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// MountTag is the feature that says the configuration space holds a tag
// (VIRTIO_9P_MOUNT_TAG). Linux does without no device that lacks it.
const MountTag virtio.Feature = 0

const (
	// MaxTag is how many bytes a mount tag has at most. In the hvl-v1 layout there is room for
	// 254.
	MaxTag = 255
	// MinMessage is the least message size a client may ask for.
	MinMessage = 4 << 10
	// MaxMessage is the most that Options.MaxMessage can be.
	MaxMessage = 16 << 20
)

// Options says what the device serves and how much it gives to one driver.
type Options struct {
	// Tag is the name by which the driver mounts the tree: 1 to MaxTag bytes without NUL.
	Tag string
	// Attacher hands out the root of the tree, once for each Tattach. Dir makes one of a
	// directory of the host.
	Attacher p9.Attacher
	// MaxMessage is the most bytes of a message, header included (msize); the client may ask
	// for less. 0 means 512 KiB, the most that is of use to Linux.
	MaxMessage uint32
	// MaxFiles is how many Files the driver can hold, those counted that are only held as
	// the directories of others, and how many fids. A walk beyond it fails with ENFILE. 0 means
	// 65536; a File of Dir costs a file descriptor.
	MaxFiles int
	// MaxXattr is how many bytes the values of extended attributes may take that are being
	// read or written at a time; a single one is never larger than 64 KiB. 0 means 4 MiB.
	MaxXattr int
	// MaxStuck is how many calls of Files may still be under way that the driver has given up,
	// by a Tflush or a reset, before further requests fail with EAGAIN. 0 means 256.
	MaxStuck int
}

// Stats counts what a Device did since it was made.
type Stats struct {
	Requests uint64 // messages that were answered, well or not
	Errors   uint64 // of these, by Rlerror
	Flushed  uint64 // called off by Tflush, Tversion or the end of a session
	Panics   uint64 // of Files; each cost its request
	Read     uint64 // bytes of files read
	Written  uint64 // bytes of files written
	Files    int64  // held now
	Xattrs   int64  // bytes of attribute values held now
	Stuck    int64  // calls under way that nobody waits for any more
}

// Device is a 9P file-system device.
type Device struct {
	opts Options
	tree tree

	requests, errors, flushed, panics, read, written atomic.Uint64
	files, xattrs, stuck                             atomic.Int64
}

var _ virtio.Backend = (*Device)(nil)

// New makes a device of a tree of files.
func New(o Options) (*Device, error) {
	switch {
	case o.Tag == "" || len(o.Tag) > MaxTag || strings.IndexByte(o.Tag, 0) >= 0:
		return nil, fmt.Errorf("mount tag %q does not have 1 to %d bytes without NUL", o.Tag, MaxTag)
	case o.Attacher == nil:
		return nil, errors.New("no tree of files to serve")
	case o.MaxMessage != 0 && (o.MaxMessage < MinMessage || o.MaxMessage > MaxMessage):
		return nil, fmt.Errorf("message size %d is not %d to %d", o.MaxMessage, MinMessage, MaxMessage)
	case o.MaxFiles < 0 || o.MaxXattr < 0 || o.MaxStuck < 0:
		return nil, errors.New("negative limit")
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = 512 << 10
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = 1 << 16
	}
	if o.MaxXattr == 0 {
		o.MaxXattr = 4 << 20
	}
	if o.MaxStuck == 0 {
		o.MaxStuck = 256
	}
	return &Device{opts: o}, nil
}

// Info implements virtio.Backend. What a killed monitor had taken may be done again, since
// nothing will be done: the fids went with it, and without them each request is an error.
func (d *Device) Info() virtio.Info {
	return virtio.Info{
		ID:        virtio.ID9P,
		Features:  virtio.FeatureSet(MountTag),
		Queues:    []uint16{0},
		ConfigLen: 2 + len(d.opts.Tag),
		Redo:      true,
	}
}

// ReadConfig implements virtio.Backend: le16 tag_len, tag[tag_len].
func (d *Device) ReadConfig(p []byte, off int) {
	var length [2]byte
	binary.LittleEndian.PutUint16(length[:], uint16(len(d.opts.Tag)))
	for i := range p {
		if at := off + i; at < len(length) {
			p[i] = length[at]
		} else {
			p[i] = d.opts.Tag[at-len(length)]
		}
	}
}

// Serve implements virtio.Backend. When it returns, all Files are closed, but for those with
// a call under way that did not end in time: they are closed when it does.
func (d *Device) Serve(ctx context.Context, vs *virtio.Session) error {
	q := vs.Queue(0)
	s := newSession(d, queue{q}, vs.Log(), vs.Resumed())
	defer s.end()
	return q.HandleBegun(ctx,
		func(c *vring.Chain) { s.begin(c) },
		func(c *vring.Chain) error { return s.serve(c) })
}

// queue is the ring as the engine sees it.
type queue struct{ *virtio.Queue }

func (q queue) finish(m message) { q.Finish(m.(*vring.Chain)) }
func (q queue) drop(m message)   { q.Drop(m.(*vring.Chain)) }

// Stats is a snapshot of the counters. Safe for concurrent use.
func (d *Device) Stats() Stats {
	return Stats{
		Requests: d.requests.Load(),
		Errors:   d.errors.Load(),
		Flushed:  d.flushed.Load(),
		Panics:   d.panics.Load(),
		Read:     d.read.Load(),
		Written:  d.written.Load(),
		Files:    d.files.Load(),
		Xattrs:   d.xattrs.Load(),
		Stuck:    d.stuck.Load(),
	}
}
