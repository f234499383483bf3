package console

import (
	"context"
	"errors"
	"log/slog"

	"github.com/hypervisorless/virtio/virtio"
)

var errTransmit = errors.New("transmit buffer is device-writable")

// output writes the driver's transmit buffers to the host, in order and in whole (5.3.6).
func (p *port) output(ctx context.Context, q *virtio.Queue, log *slog.Logger) error {
	p.toldDetached, p.toldFailed = false, false
	for {
		if err := q.Next(ctx, &p.tx); err != nil {
			return err
		}
		if p.tx.Writable() > 0 {
			q.Refuse(&p.tx, errTransmit)
			continue
		}
		if err := p.transmit(ctx, q, log); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if ofTheDriver(err) {
				q.Refuse(&p.tx, err)
			}
			continue
		}
		q.Done(&p.tx)
	}
}

// transmit writes one buffer, through private memory since the host may keep us waiting.
func (p *port) transmit(ctx context.Context, q *virtio.Queue, log *slog.Logger) error {
	for p.tx.Readable() > 0 {
		n, err := p.tx.Read(p.out[:])
		if err != nil {
			return err
		}
		sent, err := p.send(q, p.out[:n])
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if sent < n {
			p.dropped.Add(uint64(n - sent))
			p.complain(log, err)
		}
	}
	return nil
}

// send writes b to the host. Before it lets itself be kept waiting, it returns to the driver
// what is done.
func (p *port) send(q *virtio.Queue, b []byte) (n int, err error) {
	if t, ok := p.Endpoint.(tryWriter); ok {
		if n, err = t.TryWrite(b); n == len(b) || err != nil {
			return n, err
		}
	}
	q.Flush() // an error comes again
	k, err := p.Endpoint.Write(b[n:])
	return n + k, err
}

// complain logs that output is dropped, once a session that nobody is there, and once that
// something is wrong.
func (p *port) complain(log *slog.Logger, err error) {
	if errors.Is(err, ErrDetached) {
		if !p.toldDetached {
			p.toldDetached = true
			log.Info("nobody is attached, output is dropped and counted", "port", p)
		}
		return
	}
	if !p.toldFailed {
		p.toldFailed = true
		log.Warn("host does not take output, it is dropped and counted", "port", p, "err", err)
	}
}
