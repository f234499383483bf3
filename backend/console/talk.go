package console

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hypervisorless/virtio/virtio"
)

var errControl = errors.New("control message is not 8 device-readable bytes")

// tell sends the driver what it is to be told, as it provides buffers. What is not told yet is
// kept as a few bits a port, so a driver without buffers costs nothing.
func (l *life) tell(ctx context.Context, q *virtio.Queue) error {
	for {
		if _, _, ok := l.next(); !ok {
			q.Flush() // an error comes again
			select {
			case <-l.news:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		if err := q.Next(ctx, &l.ctrl); err != nil {
			return err
		}
		port, e, _ := l.next() // only this goroutine makes it less
		text, need := l.message(port, e)
		room := l.ctrl.Writable()
		if l.ctrl.Readable() > 0 || room < uint64(need) {
			q.Refuse(&l.ctrl, fmt.Errorf("control message of %d bytes does not fit into a buffer of %d", need, room))
			continue
		}
		if _, err := l.ctrl.Write(text[:min(uint64(len(text)), room)]); err != nil {
			if ofTheDriver(err) {
				q.Refuse(&l.ctrl, err)
			}
			continue
		}
		l.said(port, e) // before the driver can answer
		q.Done(&l.ctrl)
	}
}

// listen takes the driver's control messages.
func (l *life) listen(ctx context.Context, q *virtio.Queue) error {
	for {
		if err := q.Next(ctx, &l.heard); err != nil {
			return err
		}
		err := l.hear()
		switch {
		case err == nil:
			q.Done(&l.heard)
		case ofTheDriver(err):
			q.Refuse(&l.heard, err)
		}
	}
}

func (l *life) hear() error {
	if l.heard.Writable() > 0 || l.heard.Readable() < controlHeader {
		return errControl
	}
	if _, err := l.heard.Read(l.head[:]); err != nil {
		return err
	}
	return l.command(
		binary.LittleEndian.Uint32(l.head[0:]),
		binary.LittleEndian.Uint16(l.head[4:]),
		binary.LittleEndian.Uint16(l.head[6:]))
}
