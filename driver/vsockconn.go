package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// VsockAddr is one end of a connection.
type VsockAddr struct {
	CID  uint64
	Port uint32
}

// Network is "vsock".
func (a VsockAddr) Network() string { return "vsock" }

// String is CID and port, with a colon.
func (a VsockAddr) String() string { return fmt.Sprintf("%d:%d", a.CID, a.Port) }

// VsockConn is a stream connection with the host. Write returns when the device has been given
// all bytes, which says nothing of who has read them.
type VsockConn struct {
	v      *Vsock
	life   *vsockLife
	pair   vsockPair
	cid    uint64        // ours
	opened chan struct{} // closed when the host has answered, or all is over

	readable, writable chan struct{} // tokens: look again
	readBy, writeBy    deadline
	reading, writing   sync.Mutex // one at a time
	forwarded          atomic.Uint32
	told               atomic.Uint32 // forwarded, as the host heard of it last

	mu             sync.Mutex
	open           bool  // the host has agreed
	err            error // why it is over
	closed         bool  // by us
	shut, peerShut uint32
	linger         *time.Timer // until the host has agreed to the end

	into     []byte // of a reader who waits: bytes go there without a stop
	direct   int    // how many went
	buf      []byte // what nobody waited for
	off      int    // of it that was read
	received uint32

	sent, peerWindow, peerForwarded uint32
}

var _ net.Conn = (*VsockConn)(nil)

const (
	vsockWindow = 256 << 10       // bytes of one connection that wait for a reader, at most
	vsockLinger = 8 * time.Second // as in Linux
)

var (
	errVsockReset   = fmt.Errorf("the host ended the connection: %w", syscall.ECONNRESET)
	errVsockRefused = fmt.Errorf("nobody there: %w", syscall.ECONNREFUSED)
	errVsockRules   = fmt.Errorf("the host broke the rules: %w", syscall.ECONNRESET)
)

// newConn makes a connection. The Vsock's lock is held.
func (v *Vsock) newConn(l *vsockLife, p vsockPair) *VsockConn {
	c := &VsockConn{
		v: v, life: l, pair: p, cid: v.cid, opened: make(chan struct{}),
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1),
	}
	v.conns[p] = c
	return c
}

// Dial opens a connection to a port of the host's: ECONNREFUSED when nobody is there. It ends
// with ctx, and waits for a device that is being brought up again.
func (v *Vsock) Dial(ctx context.Context, port uint32) (*VsockConn, error) {
	c, err := v.dial(ctx, port)
	if err != nil {
		return nil, v.named(fmt.Sprintf("dial port %d", port), err)
	}
	return c, nil
}

func (v *Vsock) dial(ctx context.Context, port uint32) (*VsockConn, error) {
	var c *VsockConn
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		v.mu.Lock()
		live, err := v.live, v.err
		if v.life != nil && err == nil {
			c = v.newConn(v.life, vsockPair{v.freePort(port), port})
		}
		v.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if c != nil {
			break
		}
		select {
		case <-live:
		case <-ctx.Done():
		}
	}
	c.mu.Lock()
	if c.err == nil { // it may have ended already, with all the others
		c.post(vsockRequest, 0)
	}
	c.mu.Unlock()
	select {
	case <-c.opened:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.open: // and perhaps over again, which reading tells
		return c, nil
	case c.err != nil:
		return nil, c.err
	}
	c.abort(ctx.Err())
	return nil, ctx.Err()
}

// freePort is a port that no connection to the host's port has. The lock is held.
func (v *Vsock) freePort(remote uint32) uint32 {
	for {
		if v.port++; v.port == vsockNobodyPort || v.port < vsockFirstPort {
			v.port = vsockFirstPort
		}
		if v.conns[vsockPair{v.port, remote}] == nil && v.listeners[v.port] == nil {
			return v.port
		}
	}
}

// LocalAddr is this end, a VsockAddr.
func (c *VsockConn) LocalAddr() net.Addr { return VsockAddr{c.cid, c.pair.local} }

// RemoteAddr is the host's end, a VsockAddr.
func (c *VsockConn) RemoteAddr() net.Addr { return VsockAddr{vsockHost, c.pair.remote} }

// post sends a packet without data. The lock is held.
func (c *VsockConn) post(op vsockOp, flags uint32) {
	c.life.post(c, c.header(op, flags))
}

func (c *VsockConn) header(op vsockOp, flags uint32) vsockHeader {
	return vsockHeader{
		src: c.cid, dst: vsockHost, srcPort: c.pair.local, dstPort: c.pair.remote,
		kind: vsockStreamType, op: op, flags: flags,
	}
}

// end is the end. The lock is held.
func (c *VsockConn) end(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	if !c.open {
		close(c.opened)
	}
	if c.linger != nil {
		c.linger.Stop()
	}
	c.v.mu.Lock()
	if c.v.conns[c.pair] == c {
		delete(c.v.conns, c.pair)
	}
	c.v.mu.Unlock()
	poke(c.readable)
	poke(c.writable)
}

// abort ends what the host may still believe in. The lock is held.
func (c *VsockConn) abort(err error) {
	if c.err == nil {
		c.post(vsockReset, 0)
		c.end(err)
	}
}

// receive takes a packet of the host's.
func (c *VsockConn) receive(h *vsockHeader, data Buffer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil: // just now
		return
	case h.op == vsockReset && !c.open:
		c.end(errVsockRefused)
		return
	case h.op == vsockReset && c.closed:
		c.end(net.ErrClosed)
		return
	case h.op == vsockReset:
		c.end(errVsockReset)
		return
	case c.open != (h.op != vsockResponse), int32(c.sent-h.forwarded) < 0:
		c.abort(errVsockRules)
		return
	}
	c.peerWindow, c.peerForwarded = h.window, h.forwarded
	poke(c.writable)
	switch h.op {
	case vsockResponse:
		c.open = true
		close(c.opened)
	case vsockData:
		c.take(h, data)
	case vsockShutdown:
		c.peerShut |= h.flags & vsockNothing
		if c.peerShut == vsockNothing {
			c.abort(syscall.EPIPE) // which is how one agrees
		}
		poke(c.readable)
	case vsockCreditUpdate:
	case vsockCreditRequest:
		c.post(vsockCreditUpdate, 0)
	default:
		c.abort(errVsockRules)
	}
}

// take takes the data of a packet. The lock is held.
func (c *VsockConn) take(h *vsockHeader, data Buffer) {
	n := int(h.len)
	waiting := c.received - c.forwarded.Load()
	if uint64(h.len) > uint64(data.Len()) || c.peerShut&vsockNoSend != 0 || uint64(h.len)+uint64(waiting) > vsockWindow {
		c.abort(errVsockRules)
		return
	}
	c.received += h.len
	if c.shut&vsockNoReceive != 0 {
		c.consumed(n) // it was under way when we said so
		return
	}
	k := 0
	if c.direct == 0 && len(c.into) > 0 {
		k = min(n, len(c.into))
		data.ReadAt(c.into[:k], 0)
		c.direct = k
		c.consumed(k)
	}
	if n -= k; n > 0 {
		if c.off == len(c.buf) {
			c.buf, c.off = c.buf[:0], 0
		} else if len(c.buf)+n > cap(c.buf) {
			c.buf, c.off = c.buf[:copy(c.buf, c.buf[c.off:])], 0
		}
		at := len(c.buf)
		c.buf = append(c.buf, make([]byte, n)...)
		data.ReadAt(c.buf[at:], k)
	}
	poke(c.readable)
}

// consumed counts bytes that are read, and tells the host before it may have to wait for it. The
// lock is held.
func (c *VsockConn) consumed(n int) {
	now := c.forwarded.Add(uint32(n))
	if c.err == nil && now-c.told.Load() >= vsockWindow/4 {
		c.told.Store(now)
		c.post(vsockCreditUpdate, 0)
	}
}

// Read reads what the host has sent: io.EOF when it will send no more.
func (c *VsockConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	n, err := c.read(p)
	if err != nil && err != io.EOF {
		err = c.named("read", err)
	}
	return n, err
}

func (c *VsockConn) read(p []byte) (int, error) {
	for {
		n, done, err := c.tryRead(p)
		if done {
			return n, err
		}
		select {
		case <-c.readable:
		case <-c.readBy.channel():
		}
	}
}

// tryRead reads what there is, or has what comes go to p.
func (c *VsockConn) tryRead(p []byte) (n int, done bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n = c.direct; n > 0 {
		c.into, c.direct = nil, 0
		return n, true, nil
	}
	c.into = nil
	switch {
	case c.closed:
		return 0, true, net.ErrClosed
	case c.readBy.over():
		return 0, true, os.ErrDeadlineExceeded
	case c.shut&vsockNoReceive != 0:
		return 0, true, io.EOF
	case len(p) == 0:
		return 0, true, nil
	case c.off < len(c.buf):
		n = copy(p, c.buf[c.off:])
		c.off += n
		c.consumed(n)
		return n, true, nil
	case c.peerShut&vsockNoSend != 0:
		return 0, true, io.EOF
	case c.err != nil:
		return 0, true, c.err
	}
	c.into = p
	return 0, false, nil
}

// Write writes p, as fast as the host reads.
func (c *VsockConn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for n < len(p) {
		k, err := c.write(p[n:])
		n += k
		if err != nil {
			return n, c.named("write", err)
		}
	}
	return n, nil
}

// write writes some of p.
func (c *VsockConn) write(p []byte) (int, error) {
	for {
		packet, n, err := c.tryWrite(len(p))
		if err != nil {
			return 0, err
		}
		if packet == nil {
			select {
			case <-c.writable:
			case <-c.writeBy.channel():
			}
			continue
		}
		if err := c.life.dispatch(packet, c, c.header(vsockData, 0), p[:n]); err != nil {
			return 0, err
		}
		return n, nil
	}
}

// tryWrite has a packet for some of n bytes, unless there is no credit or no packet now.
func (c *VsockConn) tryWrite(n int) (*vsockPacket, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, 0, net.ErrClosed
	case c.writeBy.over():
		return nil, 0, os.ErrDeadlineExceeded
	case c.err != nil:
		return nil, 0, c.err
	case c.shut&vsockNoSend != 0, c.peerShut&vsockNoReceive != 0:
		return nil, 0, syscall.EPIPE
	}
	underway := c.sent - c.peerForwarded
	if underway >= c.peerWindow {
		return nil, 0, nil
	}
	packet := c.life.packet(c)
	if packet == nil {
		return nil, 0, nil
	}
	n = min(n, int(c.peerWindow-underway), packet.memory.Len()-vsockHeaderLen)
	c.sent += uint32(n)
	return packet, n, nil
}

// Close ends both directions. What was written gets to the host, and what was not read is lost.
func (c *VsockConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.named("close", net.ErrClosed)
	}
	c.closed = true
	c.buf = nil
	if c.err == nil {
		c.shut = vsockNothing
		c.post(vsockShutdown, vsockNothing)
		c.linger = time.AfterFunc(vsockLinger, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.abort(net.ErrClosed)
		})
	}
	poke(c.readable)
	poke(c.writable)
	return nil
}

// CloseWrite says that no more will be written: the host reads to the end.
func (c *VsockConn) CloseWrite() error {
	c.writing.Lock() // what is being written comes first
	defer c.writing.Unlock()
	return c.shutdown("close write", vsockNoSend)
}

// CloseRead says that no more will be read; what has not been is lost.
func (c *VsockConn) CloseRead() error { return c.shutdown("close read", vsockNoReceive) }

func (c *VsockConn) shutdown(what string, flag uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return c.named(what, net.ErrClosed)
	case c.err != nil:
		return c.named(what, c.err)
	case c.shut&flag != 0:
		return nil
	}
	c.shut |= flag
	c.post(vsockShutdown, flag)
	poke(c.readable)
	return nil
}

// SetDeadline implements net.Conn.
func (c *VsockConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *VsockConn) SetReadDeadline(t time.Time) error {
	c.readBy.set(t, func() { poke(c.readable) })
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *VsockConn) SetWriteDeadline(t time.Time) error {
	c.writeBy.set(t, func() { poke(c.writable) })
	return nil
}

// named says where an error is from.
func (c *VsockConn) named(what string, err error) error {
	return c.v.named(fmt.Sprintf("connection %v to %v: %s", c.LocalAddr(), c.RemoteAddr(), what), err)
}
