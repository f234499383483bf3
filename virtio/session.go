package virtio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// Session is what one incarnation of the driver agreed on with the device. Its methods are
// safe for concurrent use.
type Session struct {
	dev      *Device
	ctx      context.Context
	cancel   context.CancelCauseFunc
	features Features
	resumed  bool
	queues   []*Queue
	log      *slog.Logger

	returned atomic.Bool // Serve has returned
	ending   bool        // told to end; guarded by dev.mu, as is the next
	stuck    *time.Timer
}

// Features is the negotiated set, ring and transport bits included.
func (s *Session) Features() Features { return s.features }

// Resumed reports whether the driver knows the device from before: a queue goes on where an
// earlier session left it, of this process or of one that was killed. What the driver has said
// and was told then still holds, and only a device that keeps no such state need not care.
func (s *Session) Resumed() bool { return s.resumed }

// Queue is queue i of the device, nil when it has none such. On one that the driver did not
// enable nothing arrives, until it does.
func (s *Session) Queue(i int) *Queue {
	if i < 0 || i >= len(s.queues) {
		return nil
	}
	return s.queues[i]
}

// ConfigChanged tells the driver that the configuration space reads differently now (2.5).
func (s *Session) ConfigChanged() {
	s.dev.generation.Add(1)
	if s.ctx.Err() == nil { // the driver to come reads it all anyway
		s.dev.transport.NotifyConfig()
	}
}

// Log is the device's logger. Not for hot paths.
func (s *Session) Log() *slog.Logger { return s.log }

// quiet reports whether nothing of a session that was told to end is left.
func (s *Session) quiet() bool { return s.returned.Load() && s.released() }

// released reports whether nothing of a session that was told to end can touch the driver's
// memory any more.
func (s *Session) released() bool {
	for _, q := range s.queues {
		if l := q.link.Load(); l != nil && !l.gate.Empty() {
			return false
		}
	}
	return true
}

// errReturned marks a device whose backend stopped serving for no reason given.
var errReturned = errors.New("the backend returned from Serve while the session lasts")

// run is the session's goroutine. Deferred, so that not even runtime.Goexit in a backend keeps
// the driver waiting for ever.
func (s *Session) run() {
	err := errReturned
	defer func() {
		if r := recover(); r != nil {
			err = s.dev.panicked("Serve", r)
		}
		s.returned.Store(true)
		s.dev.fail(s, err)
		s.dev.transport.Wake()
	}()
	if e := s.dev.backend.Serve(s.ctx, s); e != nil {
		err = e
	}
}

// panicked is the error of a device whose backend panicked. It logs the stack: the program goes
// on, and nothing else will tell where.
func (d *Device) panicked(where string, r any) error {
	d.panics.Add(1)
	err := fmt.Errorf("backend panicked in %s: %v", where, r)
	d.say("a bug in the backend", "err", err, "stack", string(debug.Stack()))
	return err
}
