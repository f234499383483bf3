package vhostusertest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
)

// Channel serves the requests of a back-end: it notes each, hands it on, and answers those that
// ask for it.
type Channel struct {
	// On, if not nil, is called for each request before it is answered; an error is answered
	// with 1. Called from the goroutine of Serve.
	On func(r Request, queue int) error

	conn   *net.UnixConn
	mu     sync.Mutex
	counts map[Request]int
	news   chan struct{} // replaced, and the former one closed, at each request
}

// NewChannel makes a Channel and the socket for the back-end, which is the caller's to close
// once it was sent.
func NewChannel() (c *Channel, theirs *os.File, err error) {
	ours, theirs, err := SocketPair()
	if err != nil {
		return nil, nil, err
	}
	defer ours.Close()
	conn, err := fileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return &Channel{conn: conn, counts: make(map[Request]int), news: make(chan struct{})}, theirs, nil
}

// SetBackendReqFD sends the socket of a Channel (BACKEND_REQ).
func (f *FrontEnd) SetBackendReqFD(theirs *os.File) error {
	return f.Tell(SetBackendReqFD, nil, theirs)
}

// Serve serves until the other end is gone, or Close. The error is nil then.
func (c *Channel) Serve() error {
	for {
		m, err := receive(c.conn)
		switch {
		case Gone(err), errors.Is(err, net.ErrClosed):
			return nil // a killed back-end may leave half a message
		case err != nil:
			return err
		}
		closeAll(m.Files)
		if m.Flags&^NeedReply != Version {
			return fmt.Errorf("request %d of the back-end has flags %#x", m.Request, m.Flags)
		}
		if err := c.serve(m); err != nil {
			return err
		}
	}
}

func (c *Channel) serve(m Message) error {
	queue := -1
	switch m.Request {
	case BackendConfigChange:
		if len(m.Payload) != 0 {
			return fmt.Errorf("request %d of the back-end has %d bytes", m.Request, len(m.Payload))
		}
	case BackendVringCall, BackendVringErr:
		if len(m.Payload) != 8 || order.Uint32(m.Payload[4:]) != 0 {
			return fmt.Errorf("request %d of the back-end: % x", m.Request, m.Payload)
		}
		queue = int(order.Uint32(m.Payload))
	default:
		return fmt.Errorf("request %d of the back-end was never agreed on", m.Request)
	}
	var answer uint64
	if c.On != nil && c.On(m.Request, queue) != nil {
		answer = 1
	}
	c.mu.Lock()
	c.counts[m.Request]++
	close(c.news)
	c.news = make(chan struct{})
	c.mu.Unlock()
	if m.Flags&NeedReply == 0 {
		return nil
	}
	err := send(c.conn, Message{Request: m.Request, Flags: Version | Reply, Payload: u64s(answer)})
	if isReset(err) || errors.Is(err, net.ErrClosed) {
		return nil // the next receive says that it is over
	}
	return err
}

// Count is how many requests of a type came so far, and a channel that is closed at the next
// request of any.
func (c *Channel) Count(r Request) (n int, next <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[r], c.news
}

// Close ends the channel.
func (c *Channel) Close() error { return c.conn.Close() }
