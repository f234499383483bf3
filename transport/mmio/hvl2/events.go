package hvl2

import (
	"sync"

	"github.com/hypervisorless/virtio/shmem"
)

// events is the counter of used-buffer notifications. Any queue's goroutine counts, so there is
// a lock: a count must not overwrite a later one, nor come behind the acknowledgement of a reset.
type events struct {
	mu     sync.Mutex
	used   uint32
	wanted []bool // by queue: it is enabled
}

// NotifyUsed counts an event and rings (virtio.Transport). The used index is stored already.
func (s *Slot) NotifyUsed(queue int) {
	if s.countUsed(queue) {
		s.opts.Ring()
	}
}

func (s *Slot) countUsed(queue int) (counted bool) {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	if !s.events.wanted[queue] {
		return false // reset between the publishing and this
	}
	var err error // a window that is gone is for the scan to find
	func() {
		defer shmem.Recover(&err, shmem.Guard())
		s.page.Store32(OffUsedEvents, s.events.used+1)
		s.events.used++
	}()
	return err == nil
}

// owe counts the event that a predecessor may have owed.
func (s *Slot) owe() {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	s.events.used++
	s.store(OffUsedEvents, s.events.used)
}

// want says whether a queue's notifications are to be sent from now on.
func (s *Slot) want(queue int, yes bool) {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	s.events.wanted[queue] = yes
}

// setEvents starts both counters.
func (s *Slot) setEvents(used, config uint32) {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	s.events.used, s.configEvents = used, config
	s.store(OffUsedEvents, used)
	s.store(OffConfigEvents, config)
}

// countConfig counts a configuration-change event; the ring comes after it. Of the scan's
// goroutine, as is the counter.
func (s *Slot) countConfig() {
	s.configEvents++
	s.store(OffConfigEvents, s.configEvents)
}
