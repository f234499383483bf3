package notify

import "sync/atomic"

// NewPair returns the two sides of a doorbell inside one process, for tests and
// for a front-end that is a goroutine.
func NewPair() (host, guest Line) {
	h, g := &pair{token: newToken()}, &pair{token: newToken()}
	h.peer, g.peer = g, h
	return h, g
}

type pair struct {
	token  token
	peer   *pair
	closed atomic.Bool
}

var _ Line = (*pair)(nil)

func (p *pair) Raise() error {
	if p.closed.Load() {
		return wrap("raise", "pair", ErrClosed)
	}
	p.peer.token.post()
	return nil
}

func (p *pair) Wait() error {
	if !p.closed.Load() {
		<-p.token
	}
	if p.closed.Load() {
		return wrap("wait", "pair", ErrClosed)
	}
	return nil
}

func (p *pair) Wake() { p.token.post() }

// Close posts the token after the mark: a Wait that missed the mark finds the
// token, one that comes later finds the mark.
func (p *pair) Close() error {
	p.closed.Store(true)
	p.token.post()
	return nil
}
