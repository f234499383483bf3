package hvl2

import (
	"sync/atomic"
	"time"

	"github.com/hypervisorless/virtio/virtio"
)

// Stats is a snapshot of a slot.
type Stats struct {
	// DeviceStats is the device's own; its Status is that of the page.
	virtio.DeviceStats
	// Refusals counts transactions that were not done.
	Refusals uint64
	// Resets counts resets of a device that was live.
	Resets uint64
}

type counters struct {
	status           atomic.Uint32
	refusals, resets atomic.Uint64
}

// Stats is a snapshot of the slot. Safe for concurrent use.
func (s *Slot) Stats() Stats {
	st := Stats{DeviceStats: s.dev.Stats(), Refusals: s.stats.refusals.Load(), Resets: s.stats.resets.Load()}
	st.Status = virtio.Status(s.stats.status.Load())
	return st
}

// sayEvery is how often the log takes a refusal: a driver can be refused as often as it likes.
const sayEvery = 10 * time.Second

// refuse is the answer to a value that a register does not take.
func (s *Slot) refuse(what string, args ...any) Result {
	if now := time.Now(); !now.Before(s.quietUntil) {
		s.quietUntil = now.Add(sayEvery)
		s.log.Warn("register write refused: "+what, args...)
	}
	return Refused
}
