package console

import "sync"

// readAhead is how much input is taken from the host before the driver has room for it.
const readAhead = 16 << 10

// fifo holds input between the goroutine that reads the host and the one that fills the
// driver's buffers. It outlives sessions. The bytes themselves need no lock: each belongs to
// one of the two sides.
type fifo struct {
	filled  chan struct{} // token: the taker should look
	drained chan struct{} // token: there is room again

	mu       sync.Mutex
	in, out  uint // bytes ever put and taken
	contents [readAhead]byte
}

func newFIFO() *fifo {
	return &fifo{filled: make(chan struct{}, 1), drained: make(chan struct{}, 1)}
}

func (f *fifo) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int(f.in - f.out)
}

// room is the next free piece, empty when there is none.
func (f *fifo) room() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.piece(f.in, readAhead-(f.in-f.out))
}

// put says that n bytes of room were filled.
func (f *fifo) put(n int) {
	f.mu.Lock()
	f.in += uint(n)
	f.mu.Unlock()
	poke(f.filled)
}

// peek is the next piece of what comes after the first skip bytes, empty when there is none.
func (f *fifo) peek(skip int) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.piece(f.out+uint(skip), f.in-f.out-uint(skip))
}

// take says that n bytes are dealt with.
func (f *fifo) take(n int) {
	f.mu.Lock()
	f.out += uint(n)
	f.mu.Unlock()
	poke(f.drained)
}

// piece is up to n bytes from position at on, as far as they lie together.
func (f *fifo) piece(at, n uint) []byte {
	at %= readAhead
	return f.contents[at:min(at+n, readAhead)]
}

// poke leaves a token, unless there is one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
