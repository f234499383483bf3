package mmio

import (
	"fmt"
	"log/slog"
	"math/bits"

	"github.com/hypervisorless/virtio/vring"
)

// noRing is a queue that is not configured.
var noRing ring

// check validates a request as the device must at enable; everything is latched here. page is
// GuestPageSize, align QueueAlign.
func (s *slot) check(r request, align, page uint32) (ring, error) {
	if r.sel >= uint32(len(s.queues)) {
		return noRing, fmt.Errorf("QueueSel %d: the device has %d queues", r.sel, len(s.queues))
	}
	if !vring.ValidSize(r.num) || r.num > uint32(s.numMax) {
		return noRing, fmt.Errorf("QueueNum %d: must be a power of two up to %d", r.num, s.numMax)
	}
	if align == sentinel {
		align = PageSize
	}
	if align < usedAlign || bits.OnesCount32(align) != 1 || bits.OnesCount32(page) != 1 {
		return noRing, fmt.Errorf("QueueAlign %d, GuestPageSize %d: must be powers of two, the first at least %d", align, page, usedAlign)
	}
	base, n := uint64(r.pfn)*uint64(page), vring.LegacyBytes(uint16(r.num), align)
	if base%descAlign != 0 {
		return noRing, fmt.Errorf("ring at %#x: must be a multiple of %d", base, descAlign)
	}
	if _, err := s.bus.space.Span(base, n); err != nil {
		return noRing, fmt.Errorf("ring: %w", err)
	}
	if s.bus.place.registers(base, n) {
		return noRing, fmt.Errorf("ring of %d bytes at %#x lies on the registers", n, base)
	}
	for i, q := range s.queues {
		if i == int(r.sel) || !q.configured() {
			continue
		}
		if q.meets(base, base+n) {
			return noRing, &overlapError{base, i}
		}
	}
	return ring{request: r, Layout: vring.Legacy(base, uint16(r.num), align), align: align, end: base + n}, nil
}

// overlapError is a ring that lies on one of the same device.
type overlapError struct {
	base  uint64
	queue int
}

func (e *overlapError) Error() string {
	return fmt.Sprintf("ring at %#x overlaps that of queue %d", e.base, e.queue)
}

// What the parts of a ring have to be aligned to (2.7).
const (
	descAlign = 16
	usedAlign = 4
)

// bootPage is GuestPageSize as a booting driver left it.
func (s *slot) bootPage() uint32 {
	if gps := s.load(RegGuestPageSize); gps != sentinel {
		return gps
	}
	return PageSize
}

// zero clears flags and index of both rings: a driver whose rings survive its reboot starts
// its own counts at 0. It is blocked, so nobody else writes there.
func (s *slot) zero(r ring) {
	for _, part := range []uint64{r.Avail, r.Used} {
		if span, err := s.bus.space.Span(part, 4); err == nil { // as checked
			span.Zero(0, 4)
		}
	}
}

// refuse reports a request that gets no acknowledgement, once.
func (s *slot) refuse(r request, err error) {
	if s.refused == r {
		return
	}
	s.refused = r
	s.refusals.Add(1)
	s.say(slog.LevelWarn, "queue request refused", "queue", r.sel, "err", err)
}
