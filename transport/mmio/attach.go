package mmio

import (
	"log/slog"

	"github.com/hypervisorless/virtio/virtio"
)

// noQueue is no queue's number.
const noQueue = ^uint32(0)

// attach takes up the session that the header shows: the canary proves that the front-end saw
// an acknowledgement and has not booted since, the record says what was acknowledged. Without
// both the driver's words stay as they are: either it is booting and its request is answered
// as any, or it has to be restarted.
func (s *slot) attach() {
	if pfn := s.load(RegQueuePFN); pfn != 0 && pfn != QueueAck {
		// Asked for, or left behind by a session that nobody here knows.
		s.last, s.acked = request{pfn: pfn, sel: noQueue}, true
	}
	if s.load(RegGuestPageSize) != sentinel {
		return
	}
	if s.recall() {
		s.open, s.adopted = true, true
		if err := s.raise(InterruptUsed); err == nil {
			s.ring()
		}
		s.say(slog.LevelInfo, "session of a live front-end taken over")
		return
	}
	s.drop(-1)
	s.lower()
	if s.load(RegStatus) != 0 {
		s.barred = true
		s.say(slog.LevelWarn, "window holds a front-end that cannot be taken over: restart it")
	}
}

// recall reads the record back and reports whether it can be gone on from.
func (s *slot) recall() bool {
	driver := virtio.Features{}.SetWord(0, s.load(RegDriverFeatures))
	if driver.Without(s.dev.Offered()) != (virtio.Features{}) {
		return false // it may rely on what is no longer offered
	}
	requests, sel, ok := s.record()
	if !ok {
		return false
	}
	s.page = PageSize
	for _, r := range requests {
		q, err := s.check(r, PageSize, PageSize)
		if err != nil {
			return false
		}
		if done, sane := s.resume(&q); !sane || !done && !s.dev.Info().InOrder {
			return false
		}
		s.queues[r.sel] = q
	}
	s.last, s.acked = s.queues[sel].request, true
	return true
}

// resume sets where a queue goes on: behind the last chain given back. What was taken and not
// given back is done again, in order; done says that there is no such chain, sane that the
// indices can be those of a queue at all.
func (s *slot) resume(q *ring) (done, sane bool) {
	avail, errAvail := s.bus.space.Span(q.Avail, 4)
	used, errUsed := s.bus.space.Span(q.Used, 4)
	if errAvail != nil || errUsed != nil {
		return false, false
	}
	q.start = used.Load16(2)
	ahead := avail.Load16(2) - q.start
	return ahead == 0, ahead <= q.Size
}
