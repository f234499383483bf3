package mmio

import (
	"math/bits"

	"github.com/hypervisorless/virtio/vring"
)

// The record: what a monitor needs to take over the session of one that died, in words of the
// header that no driver touches. It is written before each acknowledgement and is trusted no
// more than a driver's request. Word 0 checks the others and names the queue acknowledged
// last; word 1+i holds queue i as PFN<<4 | log2(size), 0 for none.

const recordQueues = (regRecordLast - regRecord) / 4

// remember writes the record of the session with r as the request about to be acknowledged.
// What does not fit (more queues, rings beyond 2^40, another page
// size) leaves none, and the session cannot be taken over.
func (s *slot) remember(r request) {
	s.forget()
	if len(s.queues) > recordQueues || r.pfn == 0 || s.page != PageSize {
		return
	}
	var sum recordSum
	for i := range recordQueues {
		var word uint32
		if i < len(s.queues) && s.queues[i].configured() {
			q := s.queues[i]
			if q.pfn >= 1<<28 {
				return
			}
			word = q.pfn<<4 | uint32(bits.TrailingZeros32(q.num))
		}
		s.store(regRecord+4+4*uint64(i), word)
		sum.add(word)
	}
	s.store(regRecord, sum.seal(r.sel))
}

// forget makes the record invalid.
func (s *slot) forget() { s.store(regRecord, 0) }

// recordSum is a small checksum (FNV-1a), enough to tell a record from leftovers.
type recordSum uint32

func (c *recordSum) add(word uint32) {
	if *c == 0 {
		*c = 2166136261
	}
	for range 4 {
		*c = (*c ^ recordSum(word&0xff)) * 16777619
		word >>= 8
	}
}

// seal is word 0 of the record: never 0.
func (c recordSum) seal(sel uint32) uint32 {
	c.add(sel)
	return uint32(c)&^0xff | 0x80 | sel&0x7f
}

// attach takes up the session that the header shows: the canary proves that the front-end saw
// an acknowledgement and has not booted since, the record says what was acknowledged. Without
// both the driver's words stay as they are: either it is booting and its request is answered
// as any, or it has to be restarted.
func (s *slot) attach() {
	pfn, sel := s.load(RegQueuePFN), s.load(RegQueueSel)
	num, align := s.load(RegQueueNum), s.load(RegQueueAlign)
	if pfn != QueueAck && pfn != 0 && align == sentinel {
		// A rewrite of the session before, not a request.
		s.last, s.acked = request{pfn, sel, num}, true
	}
	if s.load(RegGuestPageSize) != sentinel {
		return
	}
	s.page = PageSize
	if s.recall() {
		s.open = true
		if err := s.raise(InterruptUsed); err == nil {
			s.ring()
		}
		s.bus.log.Info("session of a live front-end taken over", "device", s.name)
		return
	}
	if s.load(RegStatus) != 0 {
		s.bus.log.Warn("window holds a front-end that cannot be taken over: restart it", "device", s.name)
	}
	s.drop(-1)
}

// recall reads the record back and reports whether it can be gone on from.
func (s *slot) recall() bool {
	word0 := s.load(regRecord)
	sel := word0 & 0x7f
	if !s.dev.Info().InOrder || word0 == 0 || len(s.queues) > recordQueues || sel >= uint32(len(s.queues)) {
		return false
	}
	var sum recordSum
	found := 0
	for i := range recordQueues {
		word := s.load(regRecord + 4 + 4*uint64(i))
		sum.add(word)
		if word == 0 {
			continue
		}
		r := request{pfn: word >> 4, sel: uint32(i), num: 1 << (word & 15)}
		q, err := s.check(r, sentinel)
		if err != nil || !s.resume(&q) {
			return false
		}
		s.queues[i] = q
		found++
	}
	if found == 0 || sum.seal(sel) != word0 || !s.queues[sel].configured() {
		return false
	}
	s.last, s.acked = s.queues[sel].request, true
	return true
}

// resume sets where a queue goes on: behind the last chain given back. What was taken and not
// given back is done again.
func (s *slot) resume(q *ring) bool {
	avail, err := s.bus.space.Span(q.Avail, 4)
	if err != nil {
		return false
	}
	used, err := s.bus.space.Span(q.Used, 4)
	if err != nil {
		return false
	}
	q.start = used.Load16(2)
	return avail.Load16(2)-q.start <= uint16(q.num) && vring.ValidSize(q.num)
}
