package mmio

import (
	"log/slog"
	"time"

	"github.com/hypervisorless/virtio/virtio"
)

// A restart that shows on one device says that the front-end booted, but not when: a session of
// a neighbour may be of the boot before, or of this one. A front-end that first reached one
// device and after a reboot brings up another one before it looks the same from here, and so
// does one whose last request of the life before is answered only now. Such a session is ended
// like the others, so nothing touches its memory, but it is held in doubt: if the front-end
// turns out to know the device in its present life, it goes on where it was.
//
// It is asked: the interrupt handler of every deployed front-end stores InterruptACK of each
// device that it brought up since it booted, whatever it reads, and of no other. So a value
// that it never stores goes there, with a ring. A queue that moves on says the same.

// probe is what no front-end stores in InterruptACK.
const probe = 0xFFFF0000

// doubt is a session that may be of the front-end's present life.
type doubt struct {
	queues []ring
	avail  []uint16  // where each stood
	sign   time.Time // when the first sign of life was seen
}

// mayLive takes note of a session that is about to be ended because of a neighbour, to be gone
// on with should it live. What cannot be gone on with from the rings alone is not worth it.
func (s *slot) mayLive() *doubt {
	if !s.open || !s.dev.Info().InOrder || s.dev.Broken() != nil {
		return nil
	}
	d := &doubt{queues: s.queues, avail: make([]uint16, len(s.queues))}
	for i, q := range d.queues {
		if q.configured() {
			d.avail[i] = s.available(q)
		}
	}
	return d
}

// ask puts the question to the front-end.
func (s *slot) ask(d *doubt) {
	s.doubted = d
	s.store(RegInterruptACK, probe)
	s.ring()
}

// weigh looks for an answer. A sign of life has to stand for a moment: a front-end that boots
// registers its handler just before it stores GuestPageSize.
func (s *slot) weigh(gps uint32, status virtio.Status) {
	d := s.doubted
	switch {
	case gps != sentinel || s.open:
		s.doubted = nil // it booted again, as expected
	case status&virtio.DriverOK == 0: // it had not come that far, or was about to
	case !s.lives(d):
	case d.sign.IsZero():
		d.sign = time.Now()
		s.later(standTime)
	case time.Since(d.sign) < standTime:
	case s.bus.overlapped(s, d.queues):
		s.doubted = nil // its memory is another device's by now
	case s.bus.atRest(s):
		s.revive(d)
	}
}

// lives reports whether the front-end has shown that it knows the device.
func (s *slot) lives(d *doubt) bool {
	if s.load(RegInterruptACK) != probe {
		return true
	}
	for i, q := range d.queues {
		if q.configured() && s.available(q)-d.avail[i]-1 < q.Size {
			return true // moved on, by no more than it can
		}
	}
	return false
}

// available is a queue's available index.
func (s *slot) available(q ring) uint16 {
	span, err := s.bus.space.Span(q.Avail, 4)
	if err != nil {
		return 0
	}
	return span.Load16(2)
}

// revive goes on with the session: the scan finds it live and starts the device again, behind
// the last answer of each queue.
func (s *slot) revive(d *doubt) {
	s.queues, s.doubted = d.queues, nil
	for i := range s.queues {
		s.queues[i].resumed = s.queues[i].configured()
	}
	s.open = true
	s.remember(s.last)
	if s.raise(InterruptUsed) == nil {
		s.ring()
	}
	s.say(slog.LevelInfo, "front-end had not restarted here: going on")
}

// overlapped reports whether any of the rings lies on one of an open neighbour.
func (b *Bus) overlapped(s *slot, rings []ring) bool {
	for _, other := range b.slots {
		if other == s || !other.open {
			continue
		}
		for _, q := range other.queues {
			for _, r := range rings {
				if q.configured() && r.configured() && q.meets(r.Desc, r.end) {
					return true
				}
			}
		}
	}
	return false
}

// displace ends the sessions of neighbours that have a ring where s is about to have one: it is
// a front-end that booted again which puts it there.
func (b *Bus) displace(s *slot, r ring) {
	for _, other := range b.slots {
		if b.opts.Isolate || other == s || !other.open {
			continue
		}
		for _, q := range other.queues {
			if q.configured() && q.meets(r.Desc, r.end) {
				b.endInDoubt(other)
				break
			}
		}
	}
}

// endInDoubt ends a session because of a neighbour.
func (b *Bus) endInDoubt(s *slot) {
	d := s.mayLive()
	s.end()
	if d != nil {
		s.ask(d)
	}
}
