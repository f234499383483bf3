package mmio

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// ackTime is how long the unprotected part of a plain-store acknowledgement may take before
// the log says so: a front-end needs longer than that to boot.
const ackTime = time.Millisecond

// answer deals with a value in QueuePFN that is not the acknowledgement (R2'). It is a new
// request, or the rewrite that some drivers do after each acknowledgement, or the request of a
// rebooted driver that looks just like it. again asks for another scan; status is read anew
// when the driver turns out to have rebooted meanwhile.
func (s *slot) answer(pfn uint32, status *virtio.Status) (again bool) {
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
		if align == sentinel {
			return false // what the old session left behind
		}
		// Until QueuePFN is stored the words around the old value are the next request's. A
		// driver stores it at once, so what stands like this for long is the request.
		if r != s.last && !s.stood(r) {
			return false
		}
	}
	ring, err := s.check(r, align)
	if err == nil && s.live {
		err = s.reopen()
	}
	if err != nil {
		s.refuse(r, err)
		return false
	}
	if !s.bus.quiet(s) {
		return false // the old session still touches memory; its end wakes the bus
	}
	if !s.open {
		s.page = s.pageSize()
		s.store(RegGuestPageSize, sentinel)
		s.open = true
		s.stale = *status&virtio.DriverOK != 0
		s.lower()
	}
	if err := s.zero(ring); err != nil {
		s.refuse(r, err)
		return false
	}
	s.queues[r.sel] = ring
	s.remember(r)
	s.store(RegQueueAlign, sentinel)
	s.bus.at(pointPoison, s)
	if !s.ack(r) {
		s.queues[r.sel] = ring0
		s.acked = false
		s.remember(request{})
		return true
	}
	s.last, s.acked = r, true
	s.ring()
	s.second(int(r.sel), status)
	return false
}

// ring0 is a queue that is not configured.
var ring0 ring

// repeat looks at the value acknowledged last, standing in QueuePFN again while the session is
// open. It is acknowledged again only while nothing was ever offered on that queue, and never
// configures anything: the words around it may be the next request's.
func (s *slot) repeat(r request, align uint32, status *virtio.Status) (again bool) {
	last := int(s.last.sel)
	if r.sel != s.last.sel || !s.queues[last].configured() {
		return false
	}
	ring := align != sentinel // a mere rewrite is answered silently: nobody waits
	if !ring && !s.bus.cas {
		// A plain store could erase the next queue's request, so not before this one has stood
		// for longer than a driver needs from here to its next store.
		if *status&virtio.DriverOK != 0 && !s.stale {
			return false // the driver is past its boot: it waits for nothing
		}
		if ring = s.stood(r); !ring {
			return false
		}
		s.bus.log.Warn("queue request was missed and is answered late", "device", s.name, "queue", r.sel)
	}
	if !s.fresh(last) {
		return false
	}
	if !s.dev.TryHold() {
		s.Wake() // a worker is inside for the length of a copy: look again
		return false
	}
	defer s.dev.Release()
	if !s.fresh(last) || !s.dev.Untouched(last) {
		return false
	}
	if !s.ack(r) {
		return true
	}
	if ring {
		s.ring()
	}
	s.second(last, status)
	return false
}

// standTime is how long a value must stand in QueuePFN to be taken for a request where the
// words around it do not prove one: longer than a driver needs to its next store.
const standTime = 10 * time.Millisecond

// stood reports whether a request has stood for standTime; if not, it has the bus look again
// then.
func (s *slot) stood(r request) bool {
	if s.stands != r {
		s.stands, s.since = r, time.Now()
		time.AfterFunc(standTime, s.Wake)
		return false
	}
	if time.Since(s.since) < standTime {
		return false
	}
	s.stands = request{}
	return true
}

// fresh reports whether nothing was ever offered on a configured queue.
func (s *slot) fresh(i int) bool {
	avail, err := s.bus.space.Span(s.queues[i].Avail, 4)
	return err == nil && avail.Load16(2) == 0 && s.queues[i].start == 0
}

// ack stores the acknowledgement if the request still stands. What was stored before is
// visible before it.
func (s *slot) ack(r request) bool {
	if s.bus.cas {
		ok := s.regs.CompareAndSwap32(RegQueuePFN, r.pfn, QueueAck)
		s.bus.at(pointAcked, s)
		return ok
	}
	began := time.Now()
	if s.load(RegQueuePFN) != r.pfn || s.load(RegQueueSel) != r.sel || s.load(RegGuestPageSize) != sentinel {
		return false
	}
	s.bus.at(pointReread, s)
	s.store(RegQueuePFN, QueueAck)
	if late := time.Since(began); late > ackTime {
		s.bus.log.Warn("acknowledgement was delayed", "device", s.name, "queue", r.sel, "by", late)
	}
	s.bus.at(pointAcked, s)
	return true
}

// second is the look after the acknowledgement: a driver that rebooted meanwhile may have
// taken it for its own. Its session stays open with that one queue.
func (s *slot) second(sel int, status *virtio.Status) {
	if s.load(RegGuestPageSize) == sentinel {
		return
	}
	s.bus.log.Info("front-end restarted during an acknowledgement", "device", s.name, "queue", sel)
	s.store(RegGuestPageSize, sentinel)
	if !s.bus.cas {
		s.suspect, s.former = true, s.queues
	}
	s.dev.End()
	s.drop(sel)
	s.live = false
	s.lower()
	*status = virtio.Status(s.load(RegStatus))
	s.stale = *status&virtio.DriverOK != 0
}

// check validates a request as the device must at enable; everything is latched here.
func (s *slot) check(r request, align uint32) (ring, error) {
	if s.dev.MaxSize(int(r.sel)) == 0 || r.sel >= uint32(len(s.queues)) {
		return ring0, fmt.Errorf("QueueSel %d: no such queue", r.sel)
	}
	if !vring.ValidSize(r.num) || r.num > uint32(s.numMax()) {
		return ring0, fmt.Errorf("QueueNum %d: must be a power of two up to %d", r.num, s.numMax())
	}
	page := s.page
	if !s.open {
		page = s.pageSize()
	}
	if align == sentinel {
		align = PageSize
	}
	if align < 4 || bits.OnesCount32(align) != 1 || bits.OnesCount32(page) != 1 {
		return ring0, fmt.Errorf("QueueAlign %d, GuestPageSize %d: must be powers of two", align, page)
	}
	base, n := uint64(r.pfn)*uint64(page), vring.LegacyBytes(uint16(r.num), align)
	if _, err := s.bus.space.Span(base, n); err != nil {
		return ring0, fmt.Errorf("ring: %w", err)
	}
	if s.bus.place.registers(base, n) {
		return ring0, fmt.Errorf("ring of %d bytes at %#x lies on the registers", n, base)
	}
	for i, q := range s.queues {
		if i == int(r.sel) || !q.configured() {
			continue
		}
		if base < q.end && q.Desc < base+n {
			return ring0, fmt.Errorf("ring at %#x overlaps that of queue %d", base, i)
		}
	}
	return ring{request: r, Layout: vring.Legacy(base, uint16(r.num), align), end: base + n}, nil
}

// pageSize is GuestPageSize as a booting driver left it.
func (s *slot) pageSize() uint32 {
	if gps := s.load(RegGuestPageSize); gps != sentinel {
		return gps
	}
	return PageSize
}

// zero clears flags and index of both rings: a driver whose rings survive its reboot starts
// its own counts at 0. It is blocked, so nobody else writes there.
func (s *slot) zero(r ring) error {
	for _, part := range []uint64{r.Avail, r.Used} {
		span, err := s.bus.space.Span(part, 4)
		if err != nil {
			return err
		}
		span.Zero(0, 4)
	}
	return nil
}

// refuse reports a request that gets no acknowledgement, once.
func (s *slot) refuse(r request, err error) {
	if s.refused == r {
		return
	}
	s.refused = r
	s.refusals.Add(1)
	s.bus.log.Warn("queue request refused", "device", s.name, "queue", r.sel, "err", err)
}

// vring is the configuration of queue i for the device.
func (s *slot) vring(i int) vring.Config {
	r := s.queues[i]
	return vring.Config{Layout: r.Layout, Index: i, Patient: true, Start: r.start}
}

// numMax is the one value of QueueNumMax: the smallest maximum of all queues.
func (s *slot) numMax() uint16 {
	n := s.dev.MaxSize(0)
	for i := range s.queues {
		n = min(n, s.dev.MaxSize(i))
	}
	return n
}
