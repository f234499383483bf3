package vsock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hypervisorless/virtio/vring/vringtest"
)

// stack is a driver with sockets: what a kernel makes of the device, small.
type stack struct {
	*link
	stop chan struct{}
	idle sync.WaitGroup

	mu      sync.Mutex
	cond    sync.Cond
	over    bool
	flying  int
	conns   map[address]*socket // local is the host's port
	listens map[uint32]chan *socket
	port    uint32
}

// socket is the driver's end of a connection: a net.Conn.
type socket struct {
	s    *stack
	addr address
	credit
	open, eof, pipe, reset, closed bool
	in                             []byte
}

var (
	_          net.Conn = (*socket)(nil)
	errRefuse           = errors.New("guest: connection refused")
	errGuestRS          = errors.New("guest: connection reset")
)

// newStack starts a session of the device and a driver that serves it.
func newStack(t testing.TB, o Options) *stack {
	l := newIdleLink(t, o, 8<<10)
	l.start(FeatureStream)
	s := &stack{link: l, stop: make(chan struct{}), conns: make(map[address]*socket), listens: make(map[uint32]chan *socket), port: 5000}
	s.cond.L = &s.mu
	for i := range ringSize {
		l.offer(queueReceive, vringtest.Writable(l.bufs[0][i], uint32(l.size)))
	}
	s.idle.Go(s.run)
	t.Cleanup(func() {
		close(s.stop)
		s.idle.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.over = true // whoever still has a socket has a dead one
		for _, c := range s.conns {
			c.reset = true
		}
		s.cond.Broadcast()
	})
	return s
}

func (s *stack) run() {
	for {
		s.mu.Lock()
		s.look()
		s.mu.Unlock()
		select {
		case <-s.event:
		case <-s.stop:
			return
		}
	}
}

// look takes what the device gave back. Callers hold mu, as with all that follows.
func (s *stack) look() {
	for {
		if _, ok := s.rings[queueTransmit].Used(); !ok {
			break
		}
		s.flying--
	}
	for {
		e, ok := s.rings[queueReceive].Used()
		if !ok {
			break
		}
		raw := s.mem.Read(s.bufs[0][e.ID], uint64(e.Len))
		s.rings[queueReceive].Offer(uint16(e.ID))
		var h header
		h.decode((*[headerLen]byte)(raw))
		s.packet(&h, raw[headerLen:])
		s.dev.Kick()
	}
	s.cond.Broadcast()
}

func (s *stack) packet(h *header, data []byte) {
	a := address{local: h.srcPort, remote: h.dstPort}
	c := s.conns[a]
	if c == nil {
		l := s.listens[h.dstPort]
		if h.op != opRequest || l == nil {
			if h.op != opReset {
				s.sendPacket(&socket{s: s, addr: a}, opReset, 0, nil)
			}
			return
		}
		c = s.socket(a)
		c.open = true
		c.heard(h)
		s.sendPacket(c, opResponse, 0, nil)
		l <- c
		return
	}
	c.heard(h)
	switch h.op {
	case opResponse:
		c.open = true
	case opReset:
		c.reset = true
		delete(s.conns, a)
	case opData:
		c.in = append(c.in, data...)
	case opShutdown:
		c.eof = c.eof || h.flags&shutSend != 0
		c.pipe = c.pipe || h.flags&shutReceive != 0
		if c.eof && c.pipe {
			s.sendPacket(c, opReset, 0, nil)
			delete(s.conns, a)
		}
	case opCreditRequest:
		s.sendPacket(c, opCreditUpdate, 0, nil)
	}
}

func (s *stack) socket(a address) *socket {
	c := &socket{s: s, addr: a}
	c.window = 64 << 10
	s.conns[a] = c
	return c
}

func (s *stack) sendPacket(c *socket, op uint16, flags uint32, data []byte) {
	for s.flying == ringSize && !s.over {
		s.mu.Unlock()
		time.Sleep(time.Millisecond)
		s.mu.Lock()
		if !s.over {
			s.look()
		}
	}
	if s.over {
		return
	}
	h := header{src: guest, dst: hostCID, srcPort: c.addr.remote, dstPort: c.addr.local, len: uint32(len(data)), kind: Stream, op: op, flags: flags}
	c.credit.tell(&h)
	var b [headerLen]byte
	h.encode(&b)
	i := uint16(s.heads[queueTransmit]) % ringSize
	s.heads[queueTransmit]++
	s.flying++
	addr := s.bufs[1][i]
	s.mem.Write(addr, append(b[:], data...))
	s.rings[queueTransmit].Chain(i, vringtest.Readable(addr, uint32(headerLen+len(data))))
	s.rings[queueTransmit].Offer(i)
	s.dev.Kick()
}

// dial connects to a port of the host's.
func (s *stack) dial(port uint32) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.port++
	c := s.socket(address{local: port, remote: s.port})
	s.sendPacket(c, opRequest, 0, nil)
	for !c.open && !c.reset {
		s.cond.Wait()
	}
	if c.reset && !c.open {
		return nil, errRefuse
	}
	return c, nil
}

// listen takes connections to a port of the driver's.
func (s *stack) listen(port uint32) *guestListener {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listens[port] = make(chan *socket, 100)
	return &guestListener{s.listens[port], make(chan struct{})}
}

type guestListener struct {
	c      chan *socket
	closed chan struct{}
}

func (l *guestListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.c:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *guestListener) Close() error   { close(l.closed); return nil }
func (l *guestListener) Addr() net.Addr { return Addr{} }

func (c *socket) Read(p []byte) (int, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for len(c.in) == 0 {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.eof:
			return 0, io.EOF
		case c.reset:
			return 0, errGuestRS
		}
		c.s.cond.Wait()
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	c.forwarded += uint32(n)
	if c.stale() && !c.reset {
		c.s.sendPacket(c, opCreditUpdate, 0, nil)
	}
	return n, nil
}

func (c *socket) Write(p []byte) (n int, err error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for n < len(p) {
		switch k := min(len(p)-n, int(c.free()), 8<<10); {
		case c.closed:
			return n, net.ErrClosed
		case c.pipe || c.reset:
			return n, fmt.Errorf("guest: broken pipe, reset %v", c.reset)
		case k == 0:
			c.s.cond.Wait()
		default:
			c.sent += uint32(k)
			c.s.sendPacket(c, opData, 0, p[n:n+k])
			n += k
		}
	}
	return n, nil
}

func (c *socket) CloseWrite() error { return c.shutdown(shutSend) }

func (c *socket) Close() error {
	c.s.mu.Lock()
	c.closed = true
	c.s.cond.Broadcast()
	c.s.mu.Unlock()
	return c.shutdown(shutBoth)
}

func (c *socket) shutdown(flags uint32) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if !c.reset {
		c.s.sendPacket(c, opShutdown, flags, nil)
	}
	return nil
}

func (c *socket) LocalAddr() net.Addr              { return Addr{guest, c.addr.remote} }
func (c *socket) RemoteAddr() net.Addr             { return Addr{hostCID, c.addr.local} }
func (c *socket) SetDeadline(time.Time) error      { return nil }
func (c *socket) SetReadDeadline(time.Time) error  { return nil }
func (c *socket) SetWriteDeadline(time.Time) error { return nil }
