package vsock

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// address is a connection as both sides name it; the CIDs are always the same. For a Listener
// the driver's port is 0.
type address struct {
	local, remote uint32 // ports
	kind          Type   // of a Listener
}

// firstPort is the first of the ports for connections opened from here.
const firstPort = 1 << 30

// maxResets is how many answers to packets of no connection wait for a receive buffer. When
// they are that many, the device takes no more packets until the driver takes some of these
// (5.10.6.1).
const maxResets = 1024

// life is what one incarnation of the driver knows of the device.
//
// Locks: a Conn's before the life's, before the stock's.
type life struct {
	d                 *Device
	session           *virtio.Session
	log               *slog.Logger
	stream, seqpacket bool // negotiated

	news  chan struct{} // token: there is something to send
	room  chan struct{} // token: there is room for resets
	moved chan struct{} // token: the driver is to be told to start over

	mu         sync.Mutex
	cid        uint64
	over       bool
	conns      map[address]*Conn
	port       uint32 // tried last for a connection opened from here
	head, tail *Conn  // those that have something to send
	resets     [maxResets]reset
	oldest     int // of the resets
	waiting    int // of these

	// Of the transmit queue's goroutine.
	in       vring.Chain
	inHeader [headerLen]byte

	// Of the receive queue's.
	out       vring.Chain
	outHeader [headerLen]byte
	turn      bool // resets and connections take turns

	event vring.Chain // of the event queue's
}

// reset is an RST packet for something that is no connection.
type reset struct {
	cid           uint64 // whom the driver took us for
	local, remote uint32
	kind          Type
	void          bool // the driver does not want to know any more
}

// find is the connection a packet belongs to, or nil.
func (l *life) find(a address) *Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conns[a]
}

// add puts a connection into the table. False means that its address is taken, or all is over.
func (l *life) add(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.conns[c.addr] != nil {
		return false
	}
	l.conns[c.addr] = c
	return true
}

// addFree does the same with a port of our choice.
func (l *life) addFree(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	for {
		if l.port = (l.port + 1) | firstPort; l.port == 1<<32-1 {
			continue // VMADDR_PORT_ANY
		}
		c.addr.local = l.port
		if l.conns[c.addr] == nil {
			l.conns[c.addr] = c
			return true
		}
	}
}

// remove takes a connection out of the table.
func (l *life) remove(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns[c.addr] == c {
		delete(l.conns, c.addr)
	}
}

// enqueue has a connection asked what it has to send. False means that nobody will ask any more.
func (l *life) enqueue(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.over:
		return false
	case c.queued:
		return true
	}
	c.queued = true
	if l.tail == nil {
		l.head = c
	} else {
		l.tail.next = c
	}
	l.tail = c
	poke(l.news)
	return true
}

// dequeue is the connection whose turn it is, or nil.
func (l *life) dequeue() *Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.head
	if c == nil {
		return nil
	}
	if l.head = c.next; l.head == nil {
		l.tail = nil
	}
	c.next, c.queued = nil, false
	return c
}

// busy reports whether there may be something to send.
func (l *life) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head != nil || l.waiting > 0
}

// full reports whether there is no room for another reset.
func (l *life) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting == maxResets
}

// reject answers a packet of no connection.
func (l *life) reject(h *header) {
	if h.op == opReset {
		return
	}
	l.d.count.resets.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resets[(l.oldest+l.waiting)%maxResets] = reset{h.dst, h.dstPort, h.srcPort, h.kind, false}
	l.waiting++
	poke(l.news)
}

// anew withdraws the resets that wait for an address between whose ports the driver asks for
// another connection: they are of the last one, and would end this. They keep their places, since
// one of them may just be on its way.
func (l *life) anew(a address) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.waiting {
		if r := &l.resets[(l.oldest+i)%maxResets]; r.cid == hostCID && r.local == a.local && r.remote == a.remote {
			r.void = true
		}
	}
}

// nextReset is the oldest reset that waits.
func (l *life) nextReset() (r reset, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.waiting > 0 && l.resets[l.oldest].void {
		l.removeReset()
	}
	return l.resets[l.oldest], l.waiting > 0
}

// resetSent removes it.
func (l *life) resetSent() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeReset()
}

func (l *life) removeReset() {
	l.oldest = (l.oldest + 1) % maxResets
	l.waiting--
	poke(l.room)
}

// driverCID is the driver's address.
func (l *life) driverCID() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cid
}

// move gives the driver another address.
func (l *life) move(cid uint64) {
	l.mu.Lock()
	l.cid = cid
	l.mu.Unlock()
	l.drop(errReset)
	l.session.ConfigChanged()
	poke(l.moved)
}

// end ends all connections, and no more come.
func (l *life) end(why error) {
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	l.drop(why)
}

// drop ends all connections, of which the driver knows already.
func (l *life) drop(why error) {
	l.mu.Lock()
	all := make([]*Conn, 0, len(l.conns))
	for _, c := range l.conns {
		all = append(all, c)
	}
	for c := l.head; c != nil; c = c.next { // some of them have left the table
		all = append(all, c)
	}
	l.mu.Unlock()
	for _, c := range all {
		c.mu.Lock()
		c.ended(why, false)
		c.mu.Unlock()
	}
}

// events tells the driver when its connections are gone (5.10.6.7).
func (l *life) events(ctx context.Context) error {
	q := l.session.Queue(queueEvent)
	for {
		select {
		case <-l.moved:
		case <-ctx.Done():
			return ctx.Err()
		}
		for told := false; !told; {
			if err := q.Next(ctx, &l.event); err != nil {
				return err
			}
			if l.event.Readable() > 0 || l.event.Writable() < eventLen {
				q.Refuse(&l.event, errEvent)
				continue
			}
			if _, err := l.event.Write(transportReset[:]); err != nil {
				if ofTheDriver(err) {
					q.Refuse(&l.event, err)
				}
				continue
			}
			q.Done(&l.event)
			told = true
		}
		q.Flush() // an error comes again
	}
}

// eventLen is the length of an event: le32 id (5.10.6.7).
const eventLen = 4

// transportReset is VIRTIO_VSOCK_EVENT_TRANSPORT_RESET.
var transportReset [eventLen]byte

// together runs the workers of one session until ctx ends or the first of them returns, and
// returns when all of them have. The result is why it was over.
func together(ctx context.Context, workers ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, work := range workers {
		running.Go(func() { cancel(guarded(ctx, work)) })
	}
	running.Wait()
	return context.Cause(ctx)
}

// guarded turns a panic into an error: on a goroutine of ours it would cost the whole process,
// not just this device.
func guarded(ctx context.Context, work func(context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return work(ctx)
}
