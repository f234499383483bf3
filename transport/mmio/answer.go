package mmio

import (
	"errors"
	"log/slog"
	"time"

	"github.com/hypervisorless/virtio/virtio"
)

// verdict is what became of a value in QueuePFN.
type verdict int

const (
	settled   verdict = iota // acknowledged, refused, or no request
	withheld                 // a request whose acknowledgement has to wait
	lookAgain                // the registers moved: scan again
)

// answer deals with a value in QueuePFN that is not the acknowledgement (R2'). It is a new
// request, or the rewrite that some drivers do after each acknowledgement, or the request of a
// rebooted driver that looks just like it. status is read anew when the driver turns out to
// have rebooted meanwhile.
func (s *slot) answer(pfn uint32, status *virtio.Status) verdict {
	align := s.load(RegQueueAlign)
	r := request{pfn: pfn, sel: s.load(RegQueueSel)}
	s.bus.at(pointSel, s)
	r.num = s.load(RegQueueNum)

	if r != s.stands {
		s.stands = request{}
	}
	if s.acked && pfn == s.last.pfn {
		if s.open {
			return s.repeat(r, align, status)
		}
		if !s.anew(r, align) {
			return settled
		}
	} else {
		s.guessed = false
	}
	page := s.page
	if !s.open {
		page = s.bootPage()
	}
	ring, err := s.check(r, align, page)
	if err == nil && s.live {
		err = s.reopen(int(r.sel))
	}
	var overlap *overlapError
	if errors.As(err, &overlap) && !s.live && s.mistook(overlap.queue) {
		if !s.stood(r) {
			return settled
		}
		return s.unmistake(overlap.queue) // the driver insists
	}
	if err != nil {
		s.refuse(r, err)
		return settled
	}
	s.bus.displace(s, ring)
	if !s.bus.atRest(s) {
		return withheld // the old session still touches memory; its end wakes the bus
	}
	if !s.open {
		s.page = page
		s.store(RegGuestPageSize, sentinel)
		s.open, s.crossed = true, false
		s.stale = *status&virtio.DriverOK != 0
		s.lower()
	}
	s.zero(ring)
	before := s.queues[r.sel]
	s.queues[r.sel] = ring
	s.remember(r)
	s.store(RegQueueAlign, sentinel)
	s.bus.at(pointPoison, s)
	if !s.ack(r) {
		s.queues[r.sel] = before // of a life that is over, as the next look finds
		s.acked = false
		s.forget()
		return lookAgain
	}
	s.last, s.acked, s.adopted = r, true, false
	s.ring()
	s.second(int(r.sel), status)
	return settled
}

// anew reports whether the value acknowledged last is asked for again by the front-end's next
// life, or was only left behind by the one before.
func (s *slot) anew(r request, align uint32) bool {
	if align == sentinel && s.canary {
		return false
	}
	if align != sentinel && r == s.last {
		return true
	}
	// Until QueuePFN is stored the words around the old value are the next request's. A driver
	// stores it at once, so what stands like this for long is the request.
	s.guessed = s.stood(r)
	return s.guessed
}

// repeat looks at the value acknowledged last, standing in QueuePFN again while the session is
// open. It is acknowledged again only while nothing was ever offered on that queue, and never
// configures anything: the words around it may be the next request's.
func (s *slot) repeat(r request, align uint32, status *virtio.Status) verdict {
	last := int(s.last.sel)
	booting := *status&virtio.DriverOK == 0 || s.stale
	if r.sel != s.last.sel || !s.queues[last].configured() || !s.fresh(last) ||
		s.crossed && align != sentinel && r.num != s.queues[last].num {
		if align == sentinel || !booting || !s.stood(r) {
			return settled
		}
		// The driver insists.
		if r.sel != s.last.sel && !s.guessed {
			if !s.mistook(last) {
				s.refuse(r, errSameRing)
				return settled
			}
			return s.unmistake(last)
		}
		s.end() // it means another session than this one
		s.acked = false
		return lookAgain
	}
	ring := align != sentinel // a mere rewrite is answered silently: nobody waits
	if !ring {
		// Only a driver that is still booting can wait, and only a value that stands for longer
		// than it needs to its next store is worth the risk: by compare-and-swap, of meeting the
		// same value from a new boot; by a plain store, of erasing the next queue's request.
		if !booting || !s.stood(r) {
			return settled
		}
		if ring = !s.bus.cas; ring {
			s.say(slog.LevelWarn, "queue request was missed and is answered late", "queue", r.sel)
		}
	}
	if !s.dev.TryHold() {
		s.later(holdTime) // a worker is inside for the length of a copy
		return withheld
	}
	defer s.dev.Release()
	if !s.fresh(last) || !s.dev.Untouched(last) {
		return settled
	}
	if !s.ack(r) {
		return lookAgain
	}
	if ring || s.adopted {
		s.ring()
	}
	s.adopted = false
	s.second(last, status)
	return settled
}

// mistook reports whether a ring that two queues want may have been acknowledged for the wrong
// one: what stood in QueuePFN was left behind by the life before, and the plain store hit the
// request of the new one, which believes that it was heard.
func (s *slot) mistook(queue int) bool {
	return !s.bus.cas && queue < len(s.former) && s.former[queue].configured()
}

// unmistake forgets a queue whose ring another one insists on. What it was meant for believes
// itself acknowledged; presume finds it.
func (s *slot) unmistake(queue int) verdict {
	s.queues[queue], s.acked, s.suspect = noRing, false, true
	return lookAgain
}

// errSameRing refuses a queue whose ring was acknowledged as another's just before.
var errSameRing = errors.New("ring overlaps that of the queue before")

// holdTime is the pause before the next attempt to keep workers out of memory.
const holdTime = 100 * time.Microsecond

// standTime is how long a value must stand in QueuePFN to be taken for a request where the
// words around it do not prove one: longer than a driver needs to its next store.
const standTime = 10 * time.Millisecond

// stood reports whether a request has stood for standTime; if not, it has the bus look again
// then.
func (s *slot) stood(r request) bool {
	if s.stands != r {
		s.stands, s.since = r, time.Now()
		s.later(standTime)
		return false
	}
	if time.Since(s.since) < standTime {
		return false
	}
	s.stands = request{}
	return true
}

// ackTime is how long the unprotected part of a plain-store acknowledgement may take before
// the log says so: a front-end needs longer than that to boot.
const ackTime = time.Millisecond

// ack stores the acknowledgement if the request still stands. What was stored before is
// visible before it.
func (s *slot) ack(r request) bool {
	if s.bus.cas {
		ok := s.regs.CompareAndSwap32(RegQueuePFN, r.pfn, QueueAck)
		s.bus.at(pointAcked, s)
		s.bus.busy = true
		return ok
	}
	began := time.Now()
	if s.load(RegQueuePFN) != r.pfn || s.load(RegQueueSel) != r.sel || s.load(RegGuestPageSize) != sentinel {
		return false
	}
	s.bus.at(pointReread, s)
	s.store(RegQueuePFN, QueueAck)
	if s.load(RegQueueAlign) != sentinel || s.load(RegQueueSel) != r.sel {
		s.suspect = true // the driver has gone on to another request, which the store may have hit
	}
	if late := time.Since(began); late > ackTime {
		s.say(slog.LevelWarn, "acknowledgement was delayed", "queue", r.sel, "by", late)
	}
	s.bus.at(pointAcked, s)
	s.bus.busy = true
	return true
}

// second is the look after the acknowledgement: a driver that rebooted meanwhile may have
// taken it for its own. Its session stays open with that one queue.
func (s *slot) second(sel int, status *virtio.Status) {
	if s.load(RegGuestPageSize) == sentinel {
		return
	}
	if !s.bus.cas {
		s.suspect, s.former = true, s.queues
	}
	s.dev.End() // before the canary is armed again: a worker of the old life must not believe it
	s.store(RegGuestPageSize, sentinel)
	s.drop(sel)
	s.live = false
	s.lower()
	s.restarts.Add(1)
	s.say(slog.LevelInfo, "front-end restarted during an acknowledgement", "queue", sel)
	s.bus.endOthers(s)
	s.resize(sel)
	s.crossed = true
	*status = virtio.Status(s.load(RegStatus))
	s.stale = *status&virtio.DriverOK != 0
}

// resize takes the size that a rebooted driver gave the queue whose acknowledgement it took for
// its own. It stands there once QueueAlign has been stored after it, and until the next queue
// is selected.
func (s *slot) resize(sel int) {
	if s.load(RegQueueAlign) == sentinel {
		return
	}
	r := request{pfn: s.queues[sel].pfn, sel: uint32(sel), num: s.load(RegQueueNum)}
	if s.load(RegQueueSel) != r.sel || r.num == s.queues[sel].num {
		return
	}
	q, err := s.check(r, s.queues[sel].align, s.page)
	if err != nil {
		s.refuse(r, err)
		return
	}
	s.queues[sel], s.last = q, r
	s.remember(r)
}
