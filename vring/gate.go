package vring

import (
	"sync"
	"sync/atomic"
)

// Gate stands between the users of a queue and the driver's memory. Every access of a Queue
// and its Chains passes it, so that a transport can end a session without waiting for a
// backend and know when the last access is over. All methods are safe for concurrent use.
type Gate struct {
	mu   sync.RWMutex // read-held during an access
	shut atomic.Bool
	look func() bool
	left func()
}

// NewGate makes an open Gate. look, if not nil, is asked before every access whether the
// session still stands; it reads shared memory at will. left, if not nil, is told when a look
// failed and each time an access ended behind a shut Gate. Both must not block.
func NewGate(look func() bool, left func()) *Gate { return &Gate{look: look, left: left} }

// Shut lets no new access in, for good. It reports whether none is under way; if one is, left
// tells when to ask Empty.
func (g *Gate) Shut() (empty bool) {
	g.shut.Store(true)
	return g.Empty()
}

// Empty reports whether no access is under way. Behind a shut Gate that is final. Somebody
// else's hold counts as an access, so only one goroutine should shut and hold.
func (g *Gate) Empty() bool {
	if !g.mu.TryLock() {
		return false
	}
	g.mu.Unlock()
	return true
}

// TryHold keeps accesses waiting until Release, unless one is under way.
func (g *Gate) TryHold() bool { return g.mu.TryLock() }

// Release ends a hold.
func (g *Gate) Release() { g.mu.Unlock() }

func (g *Gate) admit() bool {
	g.mu.RLock()
	if g.shut.Load() {
		g.leave()
		return false
	}
	return true
}

// stands is the look just before the access; the caller has been admitted and is guarded.
func (g *Gate) stands() bool {
	if g.look == nil || g.look() {
		return true
	}
	if g.left != nil {
		g.left()
	}
	return false
}

func (g *Gate) leave() {
	g.mu.RUnlock()
	// Shut stores the flag before it looks for readers, so one of the two sees the other.
	if g.shut.Load() && g.left != nil {
		g.left()
	}
}
