package vsock

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Addr is one end of a connection. It is a net.Addr of the network "vsock".
type Addr struct {
	CID  uint64
	Port uint32
}

// Network is "vsock".
func (a Addr) Network() string { return "vsock" }

// String is CID and port, with a colon.
func (a Addr) String() string { return fmt.Sprintf("%d:%d", a.CID, a.Port) }

// Conn is this side's end of a connection with the driver. It is a net.Conn; like with any of
// these, methods may be called concurrently, deadlines end what waits, and Close ends it all.
//
// Write returns when the driver has all the bytes: nothing waits behind it, and the driver sets
// the pace. On a connection of type [Seqpacket] each Write is a message, and each Read is one.
type Conn struct {
	d    *Device
	life *life
	addr address
	kind Type
	cid  uint64 // the driver's

	// Of life.mu.
	queued bool
	next   *Conn

	mu       sync.Mutex
	canRead  sync.Cond
	canWrite sync.Cond
	phase    phase
	credit   credit
	granted  int // of the stock's memory
	shut     uint32
	peerShut uint32
	closed   bool  // by the application
	why      error // when done: what is left for the application, io.EOF after a farewell
	settled  bool  // the stock has everything back

	into     []byte // of somebody in read: what comes next can go there straight
	direct   int    // how much did
	in       ring
	underway int    // a message's bytes that left it for a host that has not taken them yet
	messages int    // whole ones in it
	partial  bool   // the last one is not whole yet
	hook     func() // called, with mu held, when there is something to read or all is over

	pending pending
	asked   bool   // for credit, since there was some
	writing bool   // somebody is in write
	out     []byte // what is left of what they write
	last    uint32 // flags of its last packet

	readBy, writeBy deadline
	linger          *time.Timer
	cancel          context.CancelFunc // of the opening
}

var _ net.Conn = (*Conn)(nil)

// phase is where a connection stands.
type phase uint8

const (
	requested  phase = iota // by the driver: to be answered
	connecting              // by us: the driver is to answer
	open
	closing // we shut both directions, the driver is to agree
	done
)

// pending is what is to be sent on a connection, besides data.
type pending uint8

const (
	sendRequest pending = 1 << iota
	sendResponse
	sendReset
	sendUpdate
	sendAsk
	sendShutdown
)

// newConn makes a connection that has a place in the stock.
func newConn(l *life, a address, kind Type, p phase, granted int) *Conn {
	c := &Conn{d: l.d, life: l, addr: a, kind: kind, cid: l.driverCID(), phase: p, granted: granted}
	c.in.stock = &l.d.stock
	c.canRead.L, c.canWrite.L = &c.mu, &c.mu
	c.credit.window = uint32(granted / kind.weight())
	return c
}

// weight is how many bytes of memory it takes to hold one byte: a message needs to be found
// again.
func (t Type) weight() int {
	if t == Seqpacket {
		return 2
	}
	return 1
}

// Type is the type of the connection.
func (c *Conn) Type() Type { return c.kind }

// LocalAddr is the host's end, an [Addr].
func (c *Conn) LocalAddr() net.Addr { return Addr{hostCID, c.addr.local} }

// RemoteAddr is the driver's end, an [Addr].
func (c *Conn) RemoteAddr() net.Addr { return Addr{c.cid, c.addr.remote} }

// Read reads what the driver sent; io.EOF when it will send no more. On a Seqpacket connection
// it reads one message, and what does not fit into p is lost with io.ErrShortBuffer.
func (c *Conn) Read(p []byte) (int, error) {
	n, _, err := c.read(p)
	return n, err
}

// ReadMessage is Read on a Seqpacket connection, and tells whether the driver marked the message
// as the end of a record (MSG_EOR).
func (c *Conn) ReadMessage(p []byte) (n int, endOfRecord bool, err error) { return c.read(p) }

func (c *Conn) read(p []byte) (n int, eor bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := false // of those who wait
	defer func() {
		if first {
			c.into, c.direct = nil, 0
		}
	}()
	for {
		if first && c.direct > 0 {
			return c.direct, false, nil
		}
		if err := c.readBy.err(); err != nil && !c.closed {
			return 0, false, c.wrap("read", err)
		}
		if c.arrived() {
			break
		}
		if err := c.readError(); err != nil {
			return 0, false, c.wrap("read", err)
		}
		if len(p) == 0 {
			return 0, false, nil
		}
		if c.into == nil && c.kind != Seqpacket {
			c.into, first = p, true
		}
		c.canRead.Wait()
	}
	if c.kind != Seqpacket {
		n = c.in.read(p)
		c.consumed(n)
		return n, false, nil
	}
	whole, flags := c.in.message()
	n = min(whole, len(p))
	if n < whole {
		err = c.wrap("read", io.ErrShortBuffer)
	}
	c.in.copy(p[:n])
	c.in.take(whole)
	c.messages--
	c.consumed(whole)
	return n, flags&endOfRecord != 0, err
}

// arrived reports whether there is something to read.
func (c *Conn) arrived() bool {
	if c.kind == Seqpacket {
		return c.messages > 0
	}
	return c.in.n > 0
}

// readError is why nothing more is to be read once what arrived is, or nil.
func (c *Conn) readError() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.shut&shutReceive != 0, c.peerShut&shutSend != 0:
		return io.EOF
	}
	return c.why
}

// consumed counts bytes that have reached the application. The driver hears of them when it may
// soon need to.
func (c *Conn) consumed(n int) {
	c.credit.forwarded += uint32(n)
	if c.phase != open {
		return
	}
	if c.credit.stale() {
		c.widen()
	} else if c.kind != Seqpacket {
		return // the rest of a message may be larger than what is left of the window
	}
	c.send(sendUpdate)
}

// widen doubles the window of a connection that makes use of it.
func (c *Conn) widen() {
	n := int(c.credit.window)
	if n < c.d.opts.Window && c.d.stock.more(n*c.kind.weight()) {
		c.credit.window += uint32(n)
		c.granted += n * c.kind.weight()
	}
}

// Write writes p to the driver. On a Seqpacket connection it is a message, and EMSGSIZE when it
// is larger than the driver's window; one that an error cuts short resets the connection.
func (c *Conn) Write(p []byte) (int, error) { return c.write(p, endOfMessage) }

// WriteMessage is Write on a Seqpacket connection, and may mark the message as the end of a
// record (MSG_EOR).
func (c *Conn) WriteMessage(p []byte, endsRecord bool) (int, error) {
	if endsRecord {
		return c.write(p, endOfMessage|endOfRecord)
	}
	return c.write(p, endOfMessage)
}

func (c *Conn) write(p []byte, last uint32) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.writeError(); err != nil {
			return 0, c.wrap("write", err)
		}
		if !c.writing {
			break
		}
		c.canWrite.Wait()
	}
	switch {
	case len(p) == 0:
		return 0, nil
	case c.kind == Seqpacket && uint64(len(p)) > uint64(c.credit.peerWindow):
		return 0, c.wrap("write", errTooLong)
	case c.kind != Seqpacket:
		last = 0
	}
	c.writing, c.out, c.last = true, p, last
	c.offer()
	for len(c.out) > 0 && err == nil {
		c.canWrite.Wait()
		err = c.writeError()
	}
	n = len(p) - len(c.out)
	c.writing, c.out = false, nil
	c.canWrite.Broadcast()
	switch {
	case n == len(p):
		return n, nil
	case n > 0 && c.kind == Seqpacket:
		c.ended(errReset, true)
	}
	return n, c.wrap("write", err)
}

// writeError is why nothing is to be written, or nil.
func (c *Conn) writeError() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.why != nil && c.why != io.EOF:
		return c.why
	case c.shut&shutSend != 0, c.peerShut&shutReceive != 0, c.phase == done:
		return errPipe
	}
	return c.writeBy.err()
}

// Close ends the connection, and what was not read is lost. The driver has what was written.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.wrap("close", net.ErrClosed)
	}
	c.letGo()
	if c.phase == open {
		c.shutdown(shutBoth)
	} else if c.phase < open {
		c.ended(net.ErrClosed, true)
	}
	c.wake()
	c.settle()
	return nil
}

// letGo notes that the application has, and keeps nothing for it. Callers hold mu.
func (c *Conn) letGo() {
	c.closed = true
	c.in.drop()
	c.messages = 0
	c.readBy.stop()
	c.writeBy.stop()
}

// CloseRead tells the driver that no more will be read; what has not been is lost.
func (c *Conn) CloseRead() error { return c.closeHalf(shutReceive) }

// CloseWrite tells the driver that no more will be written: it reads to the end.
func (c *Conn) CloseWrite() error { return c.closeHalf(shutSend) }

func (c *Conn) closeHalf(bit uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.wrap("close", net.ErrClosed)
	}
	if bit == shutReceive {
		n := c.in.n
		c.in.drop()
		c.messages = 0
		c.consumed(n)
	}
	c.shutdown(bit)
	c.wake()
	return nil
}

// Reset ends the connection at once, and lets the driver know that something is wrong.
func (c *Conn) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.letGo()
	c.ended(net.ErrClosed, true)
	c.settle()
}

// shutdown tells the driver which directions are over. Callers hold mu.
func (c *Conn) shutdown(bits uint32) {
	if c.phase != open || c.shut|bits == c.shut {
		return
	}
	c.shut |= bits
	c.send(sendShutdown)
	if c.shut == shutBoth {
		c.phase = closing
		c.linger = time.AfterFunc(c.d.opts.Linger, c.lingered)
	}
}

// lingered ends the wait for the driver to agree that a connection is closed (5.10.6.5).
func (c *Conn) lingered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == closing {
		c.ended(io.EOF, true)
	}
}

// ended is the end of the connection as far as the driver is concerned, who may have to be told
// by an RST. Callers hold mu.
func (c *Conn) ended(why error, tell bool) {
	if c.phase == done {
		if !tell { // the driver is gone, and with it the need to tell it
			c.pending = 0
			c.settle()
		}
		return
	}
	if c.phase < open {
		c.d.stock.opened()
	}
	c.phase, c.why, c.pending = done, why, 0
	c.life.remove(c)
	if c.linger != nil {
		c.linger.Stop()
	}
	if c.cancel != nil {
		c.cancel()
	}
	if tell {
		c.send(sendReset)
	}
	c.wake()
	c.settle()
}

// opened makes it a connection. Callers hold mu.
func (c *Conn) opened() {
	c.phase = open
	c.d.stock.opened()
	c.d.count.opened.Add(1)
}

// settle gives everything back to the stock when neither the driver nor the application has to
// do with the connection any more. Callers hold mu.
func (c *Conn) settle() {
	if c.phase == done && c.pending == 0 && c.closed && !c.settled {
		c.settled = true
		c.d.stock.close(c.granted)
	}
}

// send has something sent, unless the session is over: nothing may wait for it then. Callers hold
// mu.
func (c *Conn) send(p pending) {
	if c.pending |= p; !c.life.enqueue(c) {
		c.pending = 0
	}
}

// mayWrite reports whether what is in out, if anything, may go to the driver.
func (c *Conn) mayWrite() bool {
	return len(c.out) > 0 && c.phase == open && c.shut&shutSend == 0 && c.peerShut&shutReceive == 0
}

// offer has the connection asked for data if there are some to send. Callers hold mu.
func (c *Conn) offer() {
	switch {
	case !c.mayWrite():
	case c.credit.free() > 0:
		c.asked = false
		c.life.enqueue(c)
	case !c.asked:
		c.asked = true
		c.send(sendAsk)
	}
}

// wake has everybody look again. Callers hold mu.
func (c *Conn) wake() {
	c.canRead.Broadcast()
	c.canWrite.Broadcast()
	if c.hook != nil {
		c.hook()
	}
}

// wrap says where an error happened, as the net package does.
func (c *Conn) wrap(op string, err error) error {
	if err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "vsock", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// deadline ends a wait.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) err() error {
	if !d.at.IsZero() && !time.Now().Before(d.at) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// stop has the timer let go of the connection.
func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

// set moves the deadline, and wakes those who wait for it when it comes. Callers hold cond.L.
func (d *deadline) set(t time.Time, cond *sync.Cond) {
	d.at = t
	d.stop()
	switch left := time.Until(t); {
	case t.IsZero():
	case left <= 0:
		cond.Broadcast()
	case d.timer == nil:
		d.timer = time.AfterFunc(left, func() {
			cond.L.Lock()
			defer cond.L.Unlock()
			cond.Broadcast()
		})
	default:
		d.timer.Reset(left)
	}
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, true, true) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, true, false) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, false, true) }

func (c *Conn) setDeadlines(t time.Time, read, write bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.wrap("set", net.ErrClosed)
	}
	if read {
		c.readBy.set(t, &c.canRead)
	}
	if write {
		c.writeBy.set(t, &c.canWrite)
	}
	return nil
}
