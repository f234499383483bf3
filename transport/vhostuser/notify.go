package vhostuser

import (
	"errors"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// carrier is a Server as its device sees it.
type carrier struct{ *Server }

var _ virtio.Transport = carrier{}

// Wake makes whoever waits for the device look again (virtio.Transport).
func (s carrier) Wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// NotifyUsed signals a queue's call (virtio.Transport).
func (s carrier) NotifyUsed(queue int) {
	if s.calls[queue].raise() {
		return
	}
	if ch := s.channel.Load(); ch != nil && ch.inband {
		ch.want(&ch.calls[queue])
	}
}

// NotifyConfig has the front-end told that the configuration changed; or, when the device has
// stopped because of an error, which queue it was (virtio.Transport).
func (s carrier) NotifyConfig() {
	if ch := s.channel.Load(); ch != nil {
		ch.want(&ch.config)
	}
	err := s.dev.Broken()
	if err == nil {
		return
	}
	var fault *vring.RingError
	if errors.As(err, &fault) {
		s.raiseErr(fault.Queue)
		return
	}
	for i := range s.errs {
		s.raiseErr(i)
	}
}

// raiseErr signals that a queue was stopped because of an error.
func (s *Server) raiseErr(queue int) {
	if s.errs[queue].present() {
		s.later(&s.errs[queue])
		return
	}
	if ch := s.channel.Load(); ch != nil && ch.inband {
		ch.want(&ch.errs[queue])
	}
}

// later raises a signal without waiting for a front-end that holds whoever does. There is at most
// one goroutine held for each: the descriptor is replaced only once it was set free.
func (s *Server) later(g *signal) { go g.raise() }

// relieve sets goroutines free that a front-end holds by a full eventfd.
func (s *Server) relieve() {
	for i := range s.calls {
		s.calls[i].relieve()
		s.errs[i].relieve()
	}
}
