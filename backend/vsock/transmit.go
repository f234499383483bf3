package vsock

import (
	"context"
	"errors"
	"io"

	"github.com/hypervisorless/virtio/vring"
)

// transmit takes the driver's packets (5.10.6). It waits for nobody but for room to say that a
// packet made no sense: whatever an application does or does not, and whether or not there are
// receive buffers, packets are taken.
func (l *life) transmit(ctx context.Context) error {
	q := l.session.Queue(queueTransmit)
	for {
		if err := q.Next(ctx, &l.in); err != nil {
			return err
		}
		for l.full() {
			q.Flush() // an error comes again
			select {
			case <-l.room:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		switch err := l.packet(ctx); {
		case err == nil:
			q.Done(&l.in)
		case ofTheDriver(err):
			q.Refuse(&l.in, err)
		}
	}
}

// ofTheDriver reports whether an access to a chain failed for a reason that the driver is to be
// blamed for, and not because the session is over.
func ofTheDriver(err error) bool { return !errors.Is(err, vring.ErrShut) }

// packet takes one packet. An error says what is wrong with it, after the answer was given that
// it deserves.
func (l *life) packet(ctx context.Context) error {
	if l.in.Writable() > 0 {
		l.d.count.dropped.Add(1)
		return errWritable
	}
	if l.in.Readable() < headerLen {
		l.d.count.dropped.Add(1)
		return errShort
	}
	if _, err := io.ReadFull(&l.in, l.inHeader[:]); err != nil {
		return err
	}
	var h header
	h.decode(&l.inHeader)
	switch {
	case h.src != l.driverCID(): // whoever that is, an answer would not reach it
		l.d.count.dropped.Add(1)
		return errForged
	case h.dst != hostCID:
		l.reject(&h)
		return errElsewhere
	case h.kind == Stream && !l.stream, h.kind == Seqpacket && !l.seqpacket, h.kind != Stream && h.kind != Seqpacket:
		l.reject(&h)
		return errKind
	}
	c := l.find(address{local: h.dstPort, remote: h.srcPort})
	switch {
	case c != nil && c.kind != h.kind:
		l.reject(&h)
		return errKind
	case c != nil:
		return l.known(c, &h)
	case h.op == opRequest:
		return l.request(ctx, &h)
	case h.op == opReset: // the last word on something that is over
		return nil
	}
	return l.late(&h)
}

// late answers what the driver says of a connection that is not, or not any more. That is no fault
// of a driver's: both sides may end a connection at once, and the one cannot know yet of the other.
func (l *life) late(h *header) error {
	l.reject(h)
	if h.op < opRequest || h.op > opCreditRequest {
		return errUnknown
	}
	return nil
}

// request begins to open a connection that the driver asks for.
func (l *life) request(ctx context.Context, h *header) error {
	window := l.d.opts.base()
	if h.kind == Seqpacket { // a message has to fit into the window, whatever it was used for before
		window = l.d.opts.Window * h.kind.weight()
	}
	granted, ok := l.d.stock.open(window)
	if !ok {
		l.d.count.refused.Add(1)
		l.reject(h)
		return errLimit
	}
	a := address{local: h.dstPort, remote: h.srcPort}
	l.anew(a)
	c := newConn(l, a, h.kind, requested, granted)
	c.credit.heard(h)
	ctx, c.cancel = context.WithTimeout(ctx, l.d.opts.ConnectTimeout)
	if !l.add(c) { // Dial was quicker to take that very address
		c.abandon()
		l.reject(h)
		return errOp
	}
	go c.route(ctx)
	return nil
}

// known takes a packet of a connection.
func (l *life) known(c *Conn, h *header) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == done { // just now
		return l.late(h)
	}
	if h.op == opReset {
		switch c.phase {
		case connecting:
			c.ended(errRefused, false)
		case closing:
			c.ended(io.EOF, false)
		default:
			c.ended(errReset, false)
		}
		return nil
	}
	if !c.credit.heard(h) {
		return c.violated(errCredit)
	}
	if h.op == opResponse && c.phase == connecting {
		c.opened()
		c.cancel()
		c.wake()
		return nil
	}
	if c.phase < open {
		return c.violated(errOp)
	}
	c.offer() // there may be credit now
	switch h.op {
	case opData:
		return c.receive(&l.in, h)
	case opShutdown:
		c.peerShut |= h.flags & shutBoth
		if c.peerShut == shutBoth {
			c.ended(io.EOF, true)
		}
		c.wake()
	case opCreditUpdate:
	case opCreditRequest:
		c.send(sendUpdate)
	default: // REQUEST, a second RESPONSE, or nothing that is known
		return c.violated(errOp)
	}
	return nil
}

// violated resets a connection whose driver does not keep to the rules. Callers hold mu.
func (c *Conn) violated(err error) error {
	c.d.count.violated.Add(1)
	c.ended(errReset, true)
	return err
}

// receive takes the data of an RW packet. Callers hold mu.
func (c *Conn) receive(p *vring.Chain, h *header) error {
	if uint64(h.len) > p.Readable() {
		return c.violated(errLength)
	}
	if c.peerShut&shutSend != 0 {
		return c.violated(errOp)
	}
	if uint64(c.in.n)+uint64(c.underway)+uint64(h.len) > uint64(c.credit.window) {
		return c.violated(errWindow)
	}
	n := int(h.len)
	if c.shut&shutReceive != 0 {
		c.consumed(n) // it was under way when we said so
		return nil
	}
	if n > 0 && c.into != nil && c.direct == 0 && c.in.n == 0 { // somebody waits: no copy in between
		k, err := io.ReadFull(p, c.into[:min(n, len(c.into))])
		if err != nil {
			c.ended(errReset, ofTheDriver(err))
			return err
		}
		c.direct = k
		c.consumed(k)
		c.canRead.Broadcast()
		n -= k
	}
	if n > 0 {
		a, b := c.in.room(n, c.kind == Seqpacket)
		for _, piece := range [...][]byte{a, b} {
			if _, err := io.ReadFull(p, piece); err != nil {
				c.ended(errReset, ofTheDriver(err))
				return err
			}
		}
		c.in.filled(n)
		c.partial = true
	}
	if c.kind == Seqpacket {
		if h.flags&endOfMessage != 0 && c.partial {
			c.in.mark(byte(h.flags & (endOfMessage | endOfRecord)))
			c.partial = false
			c.messages++
		}
		if c.messages == 0 && c.in.n == int(c.credit.window) {
			return c.violated(errWindow) // a message that never ends
		}
	}
	if c.arrived() {
		c.canRead.Broadcast() // not all of it may be of use to the first who looks
		if c.hook != nil {
			c.hook()
		}
	}
	return nil
}
