package notify

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// NewPoll returns a line without an incoming signal: Wait returns when it is
// time to look again. It is [Adaptive]. For as long as min after a look that
// found work, Wait returns at once: spinning for the time of the sleep it saves
// costs at most twice the better choice. Then it sleeps min, and twice as long
// each time up to max, until a look finds work again. Wake and Close end a
// sleep.
//
// raise rings the peer, is called by Raise from any goroutine and must not
// block; nil if the peer polls as well.
//
// The sleep is a timerfd: a Go timer of less than a millisecond lasts a
// millisecond in an otherwise idle process.
func NewPoll(min, max time.Duration, raise func() error) (Line, error) {
	if min <= 0 || max < min {
		return nil, wrap("open", "poll", fmt.Errorf("interval %v to %v: want 0 < min <= max", min, max))
	}
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, wrap("open", "poll", err)
	}
	p := &poll{min: min, max: max, sleep: min, raise: raise, start: time.Now()}
	timer, err := newSource(fd, "timerfd", p.tick)
	if err != nil {
		return nil, wrap("open", "poll", err)
	}
	p.waiter = newWaiter(timer)
	return p, nil
}

type poll struct {
	*waiter
	min, max time.Duration
	raise    func() error
	busy     atomic.Bool

	// Of the waiting goroutine.
	start time.Time
	spin  time.Duration // since start: until then Wait returns at once
	sleep time.Duration // the next sleep
	armed bool
	count [8]byte
}

var (
	_ Line     = (*poll)(nil)
	_ Adaptive = (*poll)(nil)
)

func (p *poll) Raise() error {
	if p.closed.Load() {
		return wrap("raise", "poll", ErrClosed)
	}
	if p.raise == nil {
		return nil
	}
	return wrap("raise", "poll", p.raise())
}

func (p *poll) Busy() {
	if !p.busy.Load() { // no write to a shared word on every look
		p.busy.Store(true)
	}
}

func (p *poll) Wait() error {
	now := time.Since(p.start)
	if p.busy.Load() {
		p.busy.Store(false)
		p.spin, p.sleep = now+p.min, p.min
	}
	if now < p.spin && !p.closed.Load() {
		runtime.Gosched() // the workers the look has woken come first
		return nil
	}
	p.armed = false
	_, err := p.wait()
	return wrap("wait", "poll", err)
}

// tick starts the timer and later consumes its end. The start is here too
// because here the descriptor cannot be closed under it.
func (p *poll) tick(s *source, fd int) bool {
	if !p.armed {
		p.armed = true
		s.err = unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(p.sleep))}, nil)
		p.sleep = min(2*p.sleep, p.max)
		return s.err != nil
	}
	for {
		_, err := unix.Read(fd, p.count[:])
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		s.err = err
		return true
	}
}

func (p *poll) Close() error {
	if !p.shut() {
		return nil
	}
	return wrap("close", "poll", p.release())
}
