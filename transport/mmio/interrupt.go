package mmio

import (
	"sync"
	"time"

	"github.com/hypervisorless/virtio/shmem"
)

// interrupts is the InterruptStatus of one device, written by its workers and the scan.
//
// A bit stays set for the session (R5'): an acknowledgement does not say which interrupt it
// answers. With Options.ClearIdle it is cleared after as many acknowledgements as can be stale
// plus one (docs/model/hvl-v1/INTERRUPTS.md): the first one seen is a mark and may have stood
// there before, after settleTime everything stored before it is visible and is wiped with the
// second, the third can be of a handler that was under way, the fourth is of one that began
// after the last publish and so has run its callbacks.
type interrupts struct {
	mu    sync.Mutex
	image uint32 // InterruptStatus as stored
	seen  [2]observed
}

// observed counts the acknowledgements of one bit since it was last raised.
type observed struct {
	n    int
	mark time.Time
}

// settleTime is how long a store of the front-end takes, at most, to become visible here.
const settleTime = time.Millisecond

// enough acknowledgements make a bit old news.
const enough = 4

// raise sets a bit. The used index is stored already; the doorbell comes after.
func (s *slot) raise(bit uint32) (err error) {
	s.irq.mu.Lock()
	defer s.irq.mu.Unlock()
	s.irq.seen[bit>>1].n = 0
	if s.irq.image&bit != 0 {
		return nil
	}
	defer shmem.Recover(&err, shmem.Guard())
	s.store(RegInterruptStatus, s.irq.image|bit)
	s.irq.image |= bit
	return nil
}

// lower clears everything, at a session's end.
func (s *slot) lower() {
	s.irq.mu.Lock()
	defer s.irq.mu.Unlock()
	s.irq.image, s.irq.seen = 0, [2]observed{}
	s.store(RegInterruptStatus, 0)
}

// takeAck looks at InterruptACK, once a scan. Not looking is always safe.
func (s *slot) takeAck() {
	ack := s.load(RegInterruptACK)
	if ack == 0 {
		return
	}
	s.irq.mu.Lock()
	defer s.irq.mu.Unlock()
	now := time.Now() // inside the lock: a mark must not be older than the publish before it
	wipe := ack&s.irq.image == 0
	for i := range s.irq.seen {
		o, bit := &s.irq.seen[i], uint32(1)<<i
		switch {
		case ack&s.irq.image&bit == 0: // says nothing about this bit
		case o.n == 0:
			o.n, o.mark = 1, now
		case o.n == 1 && now.Sub(o.mark) < settleTime:
		case o.n+1 < enough:
			o.n++
			wipe = true
		default:
			s.irq.image &^= bit
			s.store(RegInterruptStatus, s.irq.image)
			o.n = 0
			wipe = true
		}
	}
	if wipe {
		s.store(RegInterruptACK, 0)
	}
}
