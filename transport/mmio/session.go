package mmio

import (
	"errors"
	"log/slog"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// complete reports whether DRIVER_OK can be believed. A driver that never takes it back leaves
// it standing over a reboot: then it counts once all queues are there or one has been used.
func (s *slot) complete() bool {
	if !s.stale {
		return true
	}
	all := true
	for i, q := range s.queues {
		if !q.configured() {
			all = false
		} else if !s.fresh(i) {
			return true
		}
	}
	return all
}

// fresh reports whether nothing was ever offered on a configured queue.
func (s *slot) fresh(i int) bool {
	return s.available(s.queues[i]) == 0 && s.queues[i].start == 0
}

// golive hands the configured queues to the device and starts it. A session that lingers is
// waited for: the device wakes the bus when it is over.
func (s *slot) golive() {
	if !s.bus.atRest(s) || s.dev.Broken() != nil {
		return
	}
	if s.suspect {
		s.presume()
	}
	features := virtio.Features{}.SetWord(0, s.load(RegDriverFeatures))
	if unknown := s.dev.SetDriverFeatures(features); unknown != (virtio.Features{}) {
		s.refusals.Add(1)
		s.say(slog.LevelWarn, "driver acknowledged features that were not offered; ignored", "features", unknown)
	}
	enabled := 0
	for i := range s.queues {
		q := &s.queues[i]
		if !q.configured() {
			continue
		}
		if q.resumed {
			s.resume(q) // an index that jumped looks like an empty queue
		}
		c := vring.Config{Layout: q.Layout, Index: i, Patient: true, Start: q.start}
		if err := s.dev.EnableQueue(s.bus.space, c); err != nil {
			s.refuse(q.request, err)
			continue
		}
		enabled++
	}
	if enabled == 0 {
		return
	}
	s.live = true
	s.fell.Store(false) // nobody of the life before can look any more
	s.dev.Start()
	if s.dev.Broken() == nil {
		s.say(slog.LevelInfo, "front-end is live", "queues", enabled, "features", s.dev.Offered().And(features))
	}
}

// presume puts queues right whose acknowledgement may have gone to a rebooted driver unseen: in
// plain-store mode the store can hit a request that nobody read, or whose size is not the one
// that was read before. The driver is live now, so it believes every queue acknowledged; the
// same image lays them out as it did before.
func (s *slot) presume() {
	top := -1
	for i, r := range s.queues {
		if r.configured() {
			top = i
		}
	}
	for i := range min(top+1, len(s.former)) {
		now, then := s.queues[i], s.former[i]
		if !then.configured() || now.configured() && (now.pfn != then.pfn || now.num == then.num) {
			continue
		}
		s.queues[i] = then
		s.queues[i].start, s.queues[i].resumed = 0, false
		s.say(slog.LevelWarn, "queue taken over from the session before: its acknowledgement hit a restarting front-end", "queue", i)
	}
	s.suspect = false
}

// end is the front-end's restart: the session is told to end, and the device lets go in its own
// time. What the driver scribbled on the device's own registers is put right for its next life.
func (s *slot) end() {
	if !s.open {
		return
	}
	s.restarts.Add(1)
	s.say(slog.LevelInfo, "front-end restarted")
	s.dev.End() // no access to memory begins any more
	s.former = s.queues
	s.drop(-1)
	s.open, s.live, s.suspect, s.adopted, s.guessed = false, false, false, false, false
	s.refused = request{}
	s.lower()
	s.forget()
	s.announce()
}

// drop forgets every configured queue but one.
func (s *slot) drop(but int) {
	kept := s.queues
	s.queues = make([]ring, len(kept))
	if but >= 0 {
		s.queues[but] = kept[but]
	}
}

var (
	errLive    = errors.New("the device is live and does not complete in order: no queue can be added")
	errLatched = errors.New("the queue is in use: its size and place were latched at the acknowledgement")
	errBroken  = errors.New("the device has stopped because of an error: the front-end has to restart")
)

// reopen ends the life of a live device to let another queue in: the others go on afterwards
// where their used rings say.
func (s *slot) reopen(sel int) error {
	switch {
	case s.dev.Broken() != nil:
		return errBroken
	case s.queues[sel].configured() && !s.stale:
		return errLatched
	case !s.dev.Info().InOrder && !s.untouched():
		return errLive
	}
	s.dev.End()
	s.live = false
	for i := range s.queues {
		s.queues[i].resumed = s.queues[i].configured()
	}
	return nil
}

// untouched reports whether the live device has taken nothing from any queue, so that any
// device can begin again.
func (s *slot) untouched() bool {
	if !s.dev.TryHold() {
		return false
	}
	defer s.dev.Release()
	for i := range s.queues {
		if !s.dev.Untouched(i) {
			return false
		}
	}
	return true
}
