package driver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/hypervisorless/virtio/virtio"
)

// P9 is a 9P device as a connection: what is written are T-messages, what is read are their
// R-messages, as a client library such as github.com/hugelgupf/p9 wants them. Several messages
// may be under way, and their answers come in any order. One goroutine may read and one may
// write at the same time.
//
// A connection ends with the life of the device: after a reset, and when the monitor came back
// without the state it had, make another, and another client on it.
type P9 struct {
	tag     string
	size    int
	queue   *Queue
	ctx     context.Context
	end     context.CancelCauseFunc
	free    chan *p9Message
	replies chan *p9Message

	writing *p9Message // gathers what is written, the writer's
	written int
	reading *p9Message // is being read, the reader's
	read    int
}

// p9Message is one T-message and room for its answer.
type p9Message struct {
	t, r []byte
	n    int // bytes of the answer
}

var _ io.ReadWriteCloser = (*P9)(nil)

const (
	p9MountTag virtio.Feature = 0 // VIRTIO_9P_MOUNT_TAG: the configuration space holds the tag

	p9Flights = 8         // messages under way, at most
	p9Header  = 7         // size[4] type[1] tag[2]
	p9Least   = 4 << 10   // of a message; the smallest that the device takes
	p9Most    = 128 << 10 // of a message
)

// StartP9 brings up a 9P device.
func StartP9(ctx context.Context, d *Device) (*P9, error) {
	if err := d.Start(ctx, Config{Sizes: []uint16{0}, Features: virtio.FeatureSet(p9MountTag)}); err != nil {
		return nil, err
	}
	var length [2]byte
	if err := d.ReadConfig(length[:], 0); err != nil {
		return nil, err
	}
	tag := make([]byte, binary.LittleEndian.Uint16(length[:]))
	if err := d.ReadConfig(tag, len(length)); err != nil {
		return nil, err
	}
	// A message and its answer each have to lie in the window. One at a time is enough.
	flights := p9Flights
	size := int(d.pool.n*unit) / (2*flights + 1) &^ (p9Least - 1)
	if size < p9Least {
		flights, size = 1, p9Least
	}
	p := &P9{
		tag: string(tag), size: min(size, p9Most), queue: d.Queue(0),
		free: make(chan *p9Message, flights), replies: make(chan *p9Message, flights),
	}
	p.ctx, p.end = context.WithCancelCause(context.Background())
	for range flights {
		p.free <- &p9Message{t: make([]byte, p.size), r: make([]byte, p.size)}
	}
	return p, nil
}

// Tag is the name of the file system.
func (p *P9) Tag() string { return p.tag }

// MaxMessage is the length in bytes of the longest message either way: what a client is to
// propose as its msize, if not less.
func (p *P9) MaxMessage() int { return p.size }

// Write sends T-messages, in pieces of any size. It returns when the device has been given all
// that are complete.
func (p *P9) Write(b []byte) (n int, err error) {
	for n < len(b) {
		if p.ctx.Err() != nil {
			return n, context.Cause(p.ctx)
		}
		if p.writing == nil {
			select {
			case p.writing = <-p.free:
				p.written = 0
			case <-p.ctx.Done():
				return n, context.Cause(p.ctx)
			}
		}
		m := p.writing
		want := p9Header // what is missing until the length is known
		if p.written >= p9Header {
			want = int(binary.LittleEndian.Uint32(m.t))
		}
		k := copy(m.t[p.written:want], b[n:])
		n, p.written = n+k, p.written+k
		if p.written < p9Header {
			continue
		}
		size := binary.LittleEndian.Uint32(m.t)
		if size < p9Header || size > uint32(p.size) {
			err = p.queue.named(fmt.Errorf("a message of %d bytes, and %d are the most", size, p.size))
			p.end(err)
			return n, err
		}
		if p.written == int(size) {
			p.writing = nil
			go p.send(m, m.t[:size])
		}
	}
	return n, nil
}

// send has the device answer a message.
func (p *P9) send(m *p9Message, t []byte) {
	n, err := p.queue.Do(p.ctx, t, m.r)
	switch {
	case err != nil:
		p.end(err)
	case n == 0:
		p.free <- m // called off by a Tflush: no answer
	case n < p9Header || int(binary.LittleEndian.Uint32(m.r)) != n:
		p.end(p.queue.named(errors.New("an answer whose length is not what it says")))
	default:
		m.n = n
		p.replies <- m
	}
}

// Read returns R-messages as they come, at least one byte. It ends with an error when the
// connection does.
func (p *P9) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if p.ctx.Err() != nil {
		return 0, context.Cause(p.ctx)
	}
	if p.reading == nil {
		select {
		case p.reading = <-p.replies:
			p.read = 0
		case <-p.ctx.Done():
			return 0, context.Cause(p.ctx)
		}
	}
	n := copy(b, p.reading.r[p.read:p.reading.n])
	if p.read += n; p.read == p.reading.n {
		p.free <- p.reading
		p.reading = nil
	}
	return n, nil
}

// Close ends the connection. The device keeps the files that its client has open until it is
// reset or greeted anew.
func (p *P9) Close() error {
	p.end(io.EOF)
	return nil
}
