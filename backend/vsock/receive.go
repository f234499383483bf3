package vsock

import (
	"context"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// maxPacket bounds the data of one packet to the driver, as Linux does.
const maxPacket = 64 << 10

// receive fills the driver's receive buffers: with a packet of the connection whose turn it is,
// so that each gets its share, or a reset.
func (l *life) receive(ctx context.Context) error {
	q := l.session.Queue(queueReceive)
	held := false // a chain is in l.out
	for {
		if !l.busy() {
			q.Flush() // an error comes again
			select {
			case <-l.news:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		if !held {
			if err := q.Next(ctx, &l.out); err != nil {
				return err
			}
			if l.out.Readable() > 0 || l.out.Writable() < headerLen {
				q.Refuse(&l.out, errReceive)
				continue
			}
			held = true // while we waited for it, there may have come to be nothing to send
			continue
		}
		held = !l.fill(q)
	}
}

// fill puts the next packet into the chain that is held, and gives it back. False means that
// there was none.
func (l *life) fill(q *virtio.Queue) (used bool) {
	if l.turn = !l.turn; l.turn {
		if r, ok := l.nextReset(); ok {
			if !l.returned(q, l.writeReset(r)) {
				l.resetSent()
			}
			return true
		}
	}
	c := l.dequeue()
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	used, err := c.packet(&l.out, &l.outHeader)
	if used {
		l.returned(q, err)
	}
	if c.pending != 0 {
		l.enqueue(c)
	}
	c.offer()
	return used
}

// returned gives a chain back, and reports whether the packet did not get into it.
func (l *life) returned(q *virtio.Queue, err error) (failed bool) {
	switch {
	case err == nil:
		q.Done(&l.out)
	case ofTheDriver(err):
		q.Refuse(&l.out, err)
	}
	return err != nil
}

// writeReset is the answer to a packet that belongs to no connection.
func (l *life) writeReset(r reset) error {
	h := header{src: r.cid, dst: l.driverCID(), srcPort: r.local, dstPort: r.remote, kind: r.kind, op: opReset}
	h.encode(&l.outHeader)
	_, err := l.out.Write(l.outHeader[:])
	return err
}

// packet writes the connection's next packet into a receive buffer. used is false when there
// was none. Callers hold mu.
func (c *Conn) packet(p *vring.Chain, b *[headerLen]byte) (used bool, err error) {
	h := header{src: hostCID, dst: c.cid, srcPort: c.addr.local, dstPort: c.addr.remote, kind: c.kind}
	var what pending
	var data []byte
	switch {
	case c.pending&sendReset != 0:
		h.op, what = opReset, sendReset
	case c.pending&sendRequest != 0:
		h.op, what = opRequest, sendRequest
	case c.pending&sendResponse != 0:
		h.op, what = opResponse, sendResponse
	case c.pending&sendShutdown != 0: // a writer only goes on where it says that we read no more
		h.op, what, h.flags = opShutdown, sendShutdown, c.shut
	case c.mayWrite() && c.credit.free() > 0:
		room := p.Writable() - headerLen
		if room == 0 {
			return true, errNoRoom
		}
		data = c.out[:min(uint64(len(c.out)), uint64(c.credit.free()), room, maxPacket)]
		h.op, h.len = opData, uint32(len(data))
		if len(data) == len(c.out) {
			h.flags = c.last
		}
	case c.pending&sendAsk != 0:
		h.op, what = opCreditRequest, sendAsk
	case c.pending&sendUpdate != 0:
		h.op, what = opCreditUpdate, sendUpdate
	default:
		return false, nil
	}
	told := c.credit.told
	c.credit.tell(&h)
	h.encode(b)
	if _, err = p.Write(b[:]); err == nil && len(data) > 0 {
		_, err = p.Write(data)
	}
	if err != nil { // that buffer was bad; the packet goes into another one
		c.credit.told = told
		return true, err
	}
	c.credit.sent += h.len
	c.pending &^= what | sendUpdate // each packet tells as much as an update does
	if len(data) > 0 {
		if c.out = c.out[len(data):]; len(c.out) == 0 {
			c.canWrite.Broadcast()
		}
	}
	c.settle()
	return true, nil
}
