package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/hypervisorless/virtio/virtio"
)

// conn is one connection of a front-end. Its fields belong to the goroutine that reads the
// messages.
type conn struct {
	s     *Server
	sock  *net.UnixConn
	in    *incoming
	kicks *kicks
	out   [headerSize + maxPayload]byte

	protocol protocolFeature // negotiated
	features virtio.Features // of the driver
	featured bool            // the driver's features are known
	gated    bool            // queues wait for SET_VRING_ENABLE
	status   bool            // the front-end carries the device status itself
	begun    bool            // the device has queues of this connection, or a session
	mem      memory
	area     area // of what is in flight; the zero area is none
	rings    []ring
	refused  int // requests that did not end the connection
}

// fatalError is a message after which nothing can be believed: the connection ends.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

func fatal(err error) error { return fatalError{err} }

// serve is the life of a connection. It is over when nothing of the front-end is held any more.
func (s *Server) serve(ctx context.Context, sock *net.UnixConn) (err error) {
	c := &conn{s: s, sock: sock, in: newIncoming(sock), rings: make([]ring, len(s.dev.Info().Queues))}
	if c.kicks, err = newKicks(); err != nil {
		return err
	}
	for i := range c.rings { // not this front-end's
		s.calls[i].owed.Store(false)
	}
	var waiter sync.WaitGroup
	waiter.Go(c.waitKicks)
	defer func() {
		err = errors.Join(err, c.close())
		waiter.Wait()
		c.kicks.closeAll()
	}()
	return c.read()
}

// waitKicks passes kicks on to the device.
func (c *conn) waitKicks() {
	for {
		kicked, answered, err := c.kicks.wait()
		if err != nil {
			return
		}
		if kicked {
			c.s.dev.Kick()
		}
		if ch := c.s.channel.Load(); answered && ch != nil {
			ch.answered()
		}
	}
}

// read serves messages until the front-end hangs up (nil) or does something wrong.
func (c *conn) read() error {
	for {
		h, p, err := c.in.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.take(h, p); err != nil {
			return err
		}
	}
}

// take serves one message and answers it. An error ends the connection.
func (c *conn) take(h header, p []byte) error {
	var reply []byte
	m, err := parse(h.request, p, len(c.in.fds))
	switch {
	case err != nil:
		err = fatal(err)
	case rules[h.request].offered&^c.s.protocol != 0:
		err = fatal(fmt.Errorf("%v belongs to a protocol feature that was not offered", h.request))
	default:
		if reply, err = c.handle(&m); err == nil {
			err = c.advance()
		}
	}
	var lost *startError
	if errors.As(err, &lost) && !rules[h.request].ring() {
		c.refuse(h.request, err)
		err = nil // what was asked for is done
	}
	if reply == nil && !rules[h.request].answered && h.flags&flagNeedReply != 0 && c.has(protoReplyAck) {
		reply = c.u64(0)
		if err != nil {
			reply = c.u64(1)
		}
	}
	if reply != nil {
		putHeader(c.out[:], uint32(h.request), version|flagReply, len(reply))
		if _, werr := c.sock.Write(c.out[:headerSize+len(reply)]); werr != nil && err == nil {
			return werr
		}
	}
	var end fatalError
	if errors.As(err, &end) {
		return fmt.Errorf("%v: %w", h.request, end.error)
	}
	if err != nil {
		c.refuse(h.request, err)
	}
	return nil
}

// refuse logs what was wrong with a request that does not end the connection, for the first one.
func (c *conn) refuse(r request, err error) {
	if c.refused++; c.refused == 1 {
		c.s.log.Warn("request refused, further ones of the connection are not logged", "request", r, "err", err)
	}
}

// payload is where a reply of n bytes goes.
func (c *conn) payload(n int) []byte { return c.out[headerSize:][:n] }

// u64 is a reply of one number.
func (c *conn) u64(v uint64) []byte {
	p := c.payload(8)
	le.PutUint64(p, v)
	return p
}

// handle does what a message asks for. The reply is nil where it has none of its own.
func (c *conn) handle(m *message) (reply []byte, err error) {
	switch m.request {
	case getFeatures:
		return c.u64(word(c.s.dev.Offered()) | featProtocol), nil
	case getProtocolFeatures:
		return c.u64(uint64(c.s.protocol)), nil
	case getQueueNum:
		return c.u64(uint64(len(c.rings))), nil
	case getMaxMemSlots:
		return c.u64(maxSlots), nil
	case getStatus:
		return c.u64(uint64(c.s.dev.Status())), nil
	case getVringBase:
		base, err := c.onGetVringBase(m)
		p := c.payload(stateSize)
		le.PutUint32(p, m.index)
		le.PutUint32(p[4:], uint32(base))
		return p, err
	case getConfig:
		return c.onGetConfig(m), nil
	case setFeatures:
		return nil, c.onSetFeatures(m)
	case setProtocolFeatures:
		return nil, c.onSetProtocolFeatures(m)
	case setMemTable:
		return nil, c.onSetMemTable(m)
	case addMemReg:
		return nil, c.onAddMemReg(m)
	case remMemReg:
		return nil, c.onRemMemReg(m)
	case setVringNum:
		return nil, c.onSetVringNum(m)
	case setVringAddr:
		return nil, c.onSetVringAddr(m)
	case setVringBase:
		return nil, c.onSetVringBase(m)
	case setVringKick:
		return nil, c.onSetVringKick(m)
	case setVringCall:
		return nil, c.onSetVringCall(m)
	case setVringErr:
		return nil, c.onSetVringErr(m)
	case setVringEnable:
		return nil, c.onSetVringEnable(m)
	case vringKick:
		return nil, c.onVringKick(m)
	case setBackendReqFD:
		return nil, c.onSetBackendReqFD()
	case getInflightFD:
		return nil, c.onGetInflightFD(m)
	case setInflightFD:
		return nil, c.onSetInflightFD(m)
	case setConfig:
		return nil, c.onSetConfig(m)
	case setStatus:
		return nil, c.onSetStatus(m)
	case resetDevice:
		return nil, c.onResetDevice()
	}
	return nil, nil // SET_OWNER, and RESET_OWNER, which is best ignored
}

// close lets go of everything the front-end has given us.
func (c *conn) close() error {
	c.in.drop()
	err := c.reset()
	c.kicks.close()
	if ch := c.s.channel.Swap(nil); ch != nil {
		c.kicks.drop(backChannel)
		ch.close()
	}
	for i := range c.rings {
		c.s.calls[i].clear()
		c.s.errs[i].clear()
	}
	if err == nil || c.s.dev.Released() {
		c.mem.close()
		c.area.close()
	}
	return err
}
