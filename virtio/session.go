package virtio

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
)

// Session is what one incarnation of the driver agreed on with the device. Its methods are
// safe for concurrent use.
type Session struct {
	dev      *Device
	ctx      context.Context
	cancel   context.CancelCauseFunc
	features Features
	queues   []*Queue
	returned atomic.Bool // Serve has returned
	log      *slog.Logger
}

// Features is the negotiated set, ring and transport bits included.
func (s *Session) Features() Features { return s.features }

// Queue is queue i, or nil when the driver did not enable it.
func (s *Session) Queue(i int) *Queue {
	if i < 0 || i >= len(s.queues) {
		return nil
	}
	return s.queues[i]
}

// ConfigChanged tells the driver that the configuration space reads differently now (2.5).
func (s *Session) ConfigChanged() { s.dev.configChanged() }

// Log is the device's logger. Not for hot paths.
func (s *Session) Log() *slog.Logger { return s.log }

// quiet reports whether nothing of the session can touch the driver's memory any more.
func (s *Session) quiet() bool {
	if !s.returned.Load() {
		return false
	}
	for _, q := range s.queues {
		if q != nil && !q.gate.Empty() {
			return false
		}
	}
	return true
}

// run is the session's goroutine.
func (s *Session) run() {
	err := s.serve()
	ended := s.ctx.Err() != nil
	s.returned.Store(true)
	if err != nil && !ended {
		s.dev.fail(s, err)
	}
	s.dev.transport.Wake()
}

// serve calls the backend. A panic there costs this device, not its neighbours.
func (s *Session) serve() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("backend panicked: %v", r)
		}
	}()
	return s.dev.backend.Serve(s.ctx, s)
}
