package vsock

import (
	"math/bits"
	"sync"
)

// stock is all that connections take from the device: places in the table, promises of memory
// to the driver, and the memory itself. It outlives sessions, since an application may hold on
// to what it got in an earlier one.
type stock struct {
	mu       sync.Mutex
	limits   Options
	conns    int
	opening  int
	promised int
	idle     [32][][]byte // buffers by the power of two that is their length
	kept     int          // bytes of these
}

// minBuffer is the least that memory is handed out in, and half the least base window: a SEQPACKET
// connection needs its window twice.
const minBuffer = 2 << 10

// base is the window that each of MaxConns connections gets, come what may. Half of the memory
// is for these; the other half goes to connections that make use of it.
func (o *Options) base() int {
	return min(floorPower(o.Memory/(2*o.MaxConns)), o.Window)
}

// floorPower is the largest power of two not above n.
func floorPower(n int) int { return 1 << (bits.Len(uint(n)) - 1) }

// open takes a place for a connection, with a promise of n bytes if there is that much, else of
// the base window. ok is false when the table is full.
func (s *stock) open(n int) (granted int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	base := s.limits.base()
	if s.conns >= s.limits.MaxConns || s.opening >= s.limits.MaxOpening {
		return 0, false
	}
	s.conns++
	s.opening++
	if n > base && !s.grant(n-base) {
		n = base
	}
	return max(n, base), true
}

// opened ends the opening of a connection.
func (s *stock) opened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening--
}

// close gives back a place and the promise that goes with it.
func (s *stock) close(granted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns--
	s.promised -= granted - s.limits.base()
}

// more asks for a promise of n further bytes.
func (s *stock) more(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grant(n)
}

// less takes back a promise of n bytes.
func (s *stock) less(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.promised -= n
}

// grant promises n bytes beyond the base windows. Callers hold mu.
func (s *stock) grant(n int) bool {
	if s.promised+n > s.limits.Memory-s.limits.MaxConns*s.limits.base() {
		return false
	}
	s.promised += n
	return true
}

// get is a buffer of at least n bytes, a power of two.
func (s *stock) get(n int) []byte {
	class := bits.Len(uint(max(n, minBuffer) - 1))
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.idle[class]; len(l) > 0 {
		b := l[len(l)-1]
		s.idle[class] = l[:len(l)-1]
		s.kept -= len(b)
		return b
	}
	return make([]byte, 1<<class)
}

// put takes a buffer back. Some are kept: what is used again and again is not made again and
// again.
func (s *stock) put(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept+len(b) > s.limits.Memory/8 {
		return
	}
	class := bits.Len(uint(len(b) - 1))
	s.idle[class] = append(s.idle[class], b)
	s.kept += len(b)
}

// count is how many connections there are, and how many of them are being opened.
func (s *stock) count() (conns, opening int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns, s.opening
}
