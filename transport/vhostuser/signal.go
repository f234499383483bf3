package vhostuser

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// signal is the descriptor by which a queue's news goes to the front-end. It may be replaced
// while others signal.
type signal struct {
	mu   sync.RWMutex // read-held while the descriptor is written to
	fd   int
	kind fdKind
	set  bool
	owed atomic.Bool // there was news before there was a descriptor
}

// raise signals, and reports whether there is a descriptor to do so.
func (g *signal) raise() (sent bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.set {
		g.owed.Store(true)
		return false
	}
	signalFD(g.fd, g.kind)
	return true
}

// present reports whether there is a descriptor.
func (g *signal) present() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.set
}

// replace takes a descriptor over, closing the one before. owed is whether there is news for it.
func (g *signal) replace(fd int, kind fdKind) (owed bool) {
	g.clear()
	g.mu.Lock()
	g.fd, g.kind, g.set = fd, kind, true
	g.mu.Unlock()
	return g.owed.Swap(false)
}

// clear closes the descriptor, if there is one.
func (g *signal) clear() {
	g.lock()
	if g.set {
		_ = unix.Close(g.fd)
		g.set = false
	}
	g.mu.Unlock()
}

// lock keeps everybody from the descriptor. A front-end that has filled its eventfd to the brim may
// hold a goroutine in the write: that one is set free.
func (g *signal) lock() {
	if g.mu.TryLock() {
		return
	}
	locked := make(chan struct{})
	go func() {
		g.mu.Lock() // lets no new one in
		close(locked)
	}()
	for {
		select {
		case <-locked:
			return
		case <-time.After(relievePause):
			g.relieve()
		}
	}
}

// relievePause is between two looks whether a write to a full eventfd went on.
const relievePause = 100 * time.Microsecond

// relieve sets free whoever is blocked in a write to a full eventfd. The descriptor is replaced
// by the caller's goroutine only, so it is read without the lock.
func (g *signal) relieve() {
	if g.set && g.kind == eventfd {
		relieve(g.fd)
	}
}
