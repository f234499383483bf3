package console

import (
	"context"
	"errors"

	"github.com/hypervisorless/virtio/virtio"
)

var errReceive = errors.New("receive buffer is not a device-writable one")

// input fills the driver's receive buffers with what the host typed (5.3.6). Bytes leave the
// fifo when they are in the driver's buffer: a session that ends before leaves them to the
// next one.
func (p *port) input(ctx context.Context, q *virtio.Queue, s *portState) error {
	held := false // a chain is in p.rx
	for {
		if p.in.len() == 0 || !s.open.Load() {
			q.Flush() // an error comes again
			select {
			case <-p.in.filled:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		if !held {
			if err := q.Next(ctx, &p.rx); err != nil {
				return err
			}
			if p.rx.Readable() > 0 || p.rx.Writable() == 0 {
				q.Refuse(&p.rx, errReceive)
				continue
			}
			held = true
			continue // while we waited, the driver may have closed the port
		}
		held = false
		p.receive(q)
	}
}

// receive fills one buffer with as many bytes as there are.
func (p *port) receive(q *virtio.Queue) {
	n := 0
	for p.rx.Writable() > 0 {
		b := p.in.peek(n)
		if len(b) == 0 {
			break
		}
		k, err := p.rx.Write(b[:min(uint64(len(b)), p.rx.Writable())])
		if err != nil {
			if ofTheDriver(err) {
				q.Refuse(&p.rx, err)
			}
			return
		}
		n += k
	}
	p.in.take(n)
	q.Done(&p.rx)
}
