package notify

import "sync"

// handle keeps a descriptor's number valid while a system call uses it. A bare
// number could be closed and given to another file between the look at it and
// the call, and the ring would be written into that file.
type handle struct {
	mu   sync.RWMutex
	fd   int
	shut bool
}

// acquire reports whether the descriptor is open, and if so keeps it open until
// release.
func (h *handle) acquire() bool {
	h.mu.RLock()
	if h.shut {
		h.mu.RUnlock()
		return false
	}
	return true
}

func (h *handle) release() { h.mu.RUnlock() }

// close waits for the calls under way and then calls closer; only the first time.
func (h *handle) close(closer func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut {
		return nil
	}
	h.shut = true
	return closer()
}
