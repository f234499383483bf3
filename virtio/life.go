package virtio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Start begins the session: DRIVER_OK was seen. From here on the device uses its queues.
// It does nothing when the device is live, ending or broken. Where no FEATURES_OK asked the
// device before (2.2.3), features it cannot work with break it.
func (d *Device) Start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.quiet() || d.broken != nil {
		return
	}
	if err := d.workable(d.negotiated()); err != nil {
		d.broken = fmt.Errorf("features: %w", err)
		d.say("device cannot work with the driver's features", "err", err)
		return
	}
	d.start()
}

// start is for a device that is quiet and not broken.
func (d *Device) start() {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &Session{
		dev: d, ctx: ctx, cancel: cancel, log: d.log,
		features: d.negotiated(),
	}
	for i, l := range d.links {
		s.queues = append(s.queues, newQueue(s, i, l))
		s.resumed = s.resumed || l != nil && l.resumed
		d.links[i] = nil
	}
	d.session = s
	d.sessions++
	go s.run()
}

// Live reports whether a session runs and has not been told to end.
func (d *Device) Live() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.live()
}

func (d *Device) live() bool { return d.session != nil && !d.session.ending }

// ErrEnded is the cause of a session's end when the driver reset the device.
var ErrEnded = errors.New("the driver reset the device or restarted")

// End tells the session to end and disables all queues, without waiting: no new access to the
// driver's memory begins. It reports whether everything has let go already; if not, Wake is
// called until Quiet says so. Status, features and a broken state are forgotten.
func (d *Device) End() (quiet bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget()
	return d.end(ErrEnded)
}

func (d *Device) forget() {
	d.resetting, d.status, d.broken, d.driver = false, 0, nil, Features{}
}

// stuckAfter is how long a backend may take to return from Serve before the log says so.
const stuckAfter = 5 * time.Second

func (d *Device) end(cause error) (quiet bool) {
	clear(d.links)
	if d.live() {
		s := d.session
		s.ending = true
		for _, q := range s.queues {
			if l := q.link.Load(); l != nil {
				l.gate.Shut() // before the context: whoever is woken by it finds the gate shut
			}
		}
		s.cancel(cause)
		if !s.quiet() {
			s.stuck = time.AfterFunc(stuckAfter, func() {
				d.say("the backend has not returned from Serve, and the driver waits for it", "for", stuckAfter)
			})
		}
	}
	return d.quiet()
}

// Quiet reports whether no session is left: either none ever began, or the last one was ended
// and nothing of it can touch the driver's memory any more.
func (d *Device) Quiet() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.quiet()
}

// Released reports whether no session is left that can touch the driver's memory. It says so
// before Quiet where a backend that was told to end has not returned from Serve yet: enough
// for the device's neighbours, not for its own next session.
func (d *Device) Released() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session == nil || d.session.ending && d.session.released()
}

func (d *Device) quiet() bool {
	if d.session == nil {
		return true
	}
	if d.live() || !d.session.quiet() {
		return false
	}
	if d.session.stuck != nil {
		d.session.stuck.Stop()
	}
	d.session = nil
	return true
}

// fail stops the device because of an unrecoverable error (2.1.2) in session s, or outside of
// any if s is nil. A session that is ending or over has no say any more.
func (d *Device) fail(s *Session, err error) {
	d.mu.Lock()
	if d.broken != nil || s != nil && (d.session != s || s.ending) {
		d.mu.Unlock()
		return
	}
	d.broken = err
	d.status |= NeedsReset
	d.end(err)
	notify := d.status&DriverOK != 0
	d.mu.Unlock()
	d.sayAt(slog.LevelError, "device stopped until the driver resets it", "err", err)
	if notify {
		d.transport.NotifyConfig()
	}
}

// Broken is the error that stopped the device, or nil.
func (d *Device) Broken() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.broken
}
