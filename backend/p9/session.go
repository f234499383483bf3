package p9

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// message is what the engine asks of a vring.Chain: a T-message to read, and room for the
// R-message.
type message interface {
	Read(p []byte) (int, error)
	Readable() uint64
	Write(p []byte) (int, error)
	Writable() uint64
	WriteAt(p []byte, off int64) (int, error)
	Truncate(n uint32)
	Straight() bool
	Fill(n uint64, fn func(v [][]byte) (int, error)) (int, error)
	Drain(n uint64, fn func(v [][]byte) (int, error)) (int, error)
}

// carrier is what the engine asks of the ring.
type carrier interface {
	// finish gives a message back with the answer that was written to it, before any that is
	// given back later.
	finish(m message)
	// drop gives back, unanswered, a message that another goroutine works on.
	drop(m message)
}

// grace is how long the end of a session waits for calls of Files, Close among them, so that
// usually none outlives it. They cannot be broken off.
const grace = 100 * time.Millisecond

// session is the engine: one life of the driver. A request is begun in the order of the ring,
// which only enters its tag, and served on a goroutine of its own.
type session struct {
	dev     *Device
	ring    carrier
	log     *slog.Logger
	resumed bool

	drops sync.Mutex // held while a request is called off; see request.leave

	mu      sync.Mutex
	moved   sync.Cond // a request that somebody waits for moved on
	tags    map[uint16]*request
	begun   map[message]*request // and not served yet
	free    []*request
	bounces [][]byte
	running int
	over    bool
	quiet   chan struct{} // closed when the session is over and nothing runs
	settled bool          // that was done
	table   *table        // since the last Tversion; nil before the first
	msize   uint32
	logged  bool // a panic

	ended atomic.Bool // over, for those without the lock
}

func newSession(d *Device, ring carrier, log *slog.Logger, resumed bool) *session {
	s := &session{
		dev: d, ring: ring, log: log, resumed: resumed,
		tags: make(map[uint16]*request), begun: make(map[message]*request),
		quiet: make(chan struct{}),
	}
	s.moved.L = &s.mu
	return s
}

// begin reads the header of a message and enters its tag, so that a Tflush that comes later in
// the ring finds it. It does not block.
func (s *session) begin(m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r *request
	if n := len(s.free); n > 0 {
		r, s.free = s.free[n-1], s.free[:n-1]
	} else {
		r = newRequest(s)
	}
	r.start(m)
	s.begun[m] = r
	s.running++
	if r.bad != nil {
		return
	}
	if old := s.tags[r.tag]; old != nil && old.pending() {
		r.duplicate = true
		return
	}
	s.tags[r.tag] = r
}

// serve answers a message that was begun. An error means that it is to be given back with
// length 0.
func (s *session) serve(m message) error {
	s.mu.Lock()
	r := s.begun[m]
	delete(s.begun, m)
	s.mu.Unlock()
	err := r.serve()
	s.retire(r)
	return err
}

// retire takes a request out of the books.
func (s *session) retire(r *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.state.Store(done)
	if s.tags[r.tag] == r {
		delete(s.tags, r.tag)
	}
	if r.wanted.Load() {
		s.moved.Broadcast()
	}
	s.unpin(r)
	s.running--
	s.settle()
}

// settle notices when a session that is over has come to rest. The caller holds the lock.
func (s *session) settle() {
	if s.over && s.running == 0 && !s.settled {
		s.settled = true
		close(s.quiet)
	}
}

// unpin lets go of a request; the last one to do so sees to it that it is used again. The
// caller holds the lock.
func (s *session) unpin(r *request) {
	if r.pins--; r.pins == 0 {
		r.message, r.table = nil, nil
		s.free = append(s.free, r)
	}
}

// end is the end of the driver's life: what is under way is called off, every file closed.
func (s *session) end() {
	s.mu.Lock()
	s.over = true
	table := s.table
	s.running++         // the files that are closed
	s.ended.Store(true) // before the look at the states: see enter
	for _, r := range s.tags {
		s.abandon(r)
	}
	s.mu.Unlock()
	go func() {
		if table != nil {
			table.close()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
		s.settle()
	}()
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-s.quiet:
	case <-patience.C:
		s.log.Warn("9p: calls of files outlive their session", "stuck", s.dev.stuck.Load())
	}
}

// abandon calls off a request whose message is worth nothing any more, unless it is busy.
func (s *session) abandon(r *request) {
	if r.state.CompareAndSwap(private, dropped) {
		s.dev.flushed.Add(1)
		s.dev.stuck.Add(1)
	}
}

// bounce is a buffer for data that cannot go straight between file and driver.
func (s *session) bounce() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.bounces); n > 0 {
		b := s.bounces[n-1]
		s.bounces = s.bounces[:n-1]
		return b
	}
	return make([]byte, bounceSize)
}

func (s *session) giveBounce(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bounces) < keepBounces {
		s.bounces = append(s.bounces, b)
	}
}

const (
	bounceSize  = 64 << 10
	keepBounces = 16
)
