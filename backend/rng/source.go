package rng

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"

	"github.com/hypervisorless/virtio/virtio"
)

// source reads random bytes into private memory. A Reader that was handed in may block for
// long, so it is read on a goroutine of its own, which a session can leave behind: the next
// one finds what it read.
type source struct {
	r       io.Reader
	quick   bool // never blocks
	buf     [chunk]byte
	asked   int
	reading bool
	read    func()
	result  chan result
}

type result struct {
	n   int
	err error
}

func newSource(r io.Reader) *source {
	s := &source{r: r, result: make(chan result, 1)}
	if r == nil {
		s.r, s.quick = rand.Reader, true
	}
	s.read = func() { s.result <- s.readNow() } // made once: a go statement on it allocates nothing
	return s
}

func (s *source) readNow() (got result) {
	defer func() {
		if r := recover(); r != nil { // on our goroutine it would cost the whole process
			got = result{err: fmt.Errorf("panic: %v", r)}
		}
	}()
	n, err := io.ReadAtLeast(s.r, s.buf[:s.asked], 1)
	if n > 0 {
		err = nil // it comes again if it lasts
	}
	return result{n, err}
}

// next is up to n fresh bytes, at least one, to be wiped by the caller.
func (s *source) next(ctx context.Context, q *virtio.Queue, n int) ([]byte, error) {
	var got result
	switch {
	case s.quick:
		s.asked = n
		got = s.readNow()
	default:
		if !s.reading {
			s.asked, s.reading = n, true
			go s.read()
		}
		q.Flush() // the source may keep us waiting; an error comes again
		select {
		case got = <-s.result:
			s.reading = false
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if got.n > n { // read for a session that is gone
		clear(s.buf[n:got.n])
		got.n = n
	}
	return s.buf[:got.n], got.err
}
