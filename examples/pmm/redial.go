package main

import (
	"errors"
	"sync"
	"time"

	"github.com/hypervisorless/virtio/notify"
)

// redial is the front-end's end of a socket doorbell that outlives the monitor: when the monitor
// is gone, Wait dials until there is another.
type redial struct {
	path  string
	woken chan struct{} // token: Wake was called

	mu     sync.Mutex
	line   notify.Line
	closed bool
}

var _ notify.Line = (*redial)(nil)

// redialPause is how long to leave a monitor that does not listen yet.
const redialPause = 5 * time.Millisecond

func newRedial(path string) (*redial, error) {
	line, err := notify.DialUnix(path)
	if err != nil {
		return nil, err
	}
	return &redial{path: path, woken: make(chan struct{}, 1), line: line}, nil
}

func (r *redial) current() notify.Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.line
}

// Raise rings the monitor. With none there it does nothing: the next one looks at everything.
func (r *redial) Raise() error { return r.current().Raise() }

// Wait waits for a ring. A new connection counts as one.
func (r *redial) Wait() error {
	for {
		err := r.current().Wait()
		if !errors.Is(err, notify.ErrPeerGone) {
			return err
		}
		if line, err := notify.DialUnix(r.path); err == nil {
			return r.replace(line)
		}
		select {
		case <-r.woken:
			return nil
		case <-time.After(redialPause):
		}
	}
}

func (r *redial) replace(line notify.Line) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		line.Close()
		return notify.ErrClosed
	}
	r.line.Close()
	r.line = line
	// The greeting may have been heard already, and somebody may have rung the dead line since.
	return line.Raise()
}

// Wake makes Wait return. The token comes first: whoever replaces the line after it looks at
// everything anyway.
func (r *redial) Wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
	r.current().Wake()
}

func (r *redial) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.line.Close()
}
