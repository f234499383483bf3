package driver

import (
	"sync"
	"time"
)

// deadline is one of a net.Conn's: passed is closed when it is over.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{}
}

// channel is closed when the deadline that is set now has passed; nil for never.
func (d *deadline) channel() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

// set replaces the deadline, for those too who wait already: wake has them look again.
func (d *deadline) set(t time.Time, wake func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer, d.passed = nil, nil
	if !t.IsZero() {
		passed := make(chan struct{})
		d.passed = passed
		if left := time.Until(t); left <= 0 {
			close(passed)
		} else {
			d.timer = time.AfterFunc(left, func() { close(passed) })
		}
	}
	wake()
}

// over reports whether it has passed.
func (d *deadline) over() bool {
	select {
	case <-d.channel():
		return true
	default:
		return false
	}
}
