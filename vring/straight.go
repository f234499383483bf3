package vring

import (
	"io"

	"github.com/hypervisorless/virtio/shmem"
)

// maxVector is how many buffers one system call takes (IOV_MAX of Linux).
const maxVector = 1024

// Straight reports whether all buffers of the chain may be handed to a system call. On Device
// memory they may not: there Fill and Drain return ErrNotStraight, and Read and Write with a
// buffer of one's own do what they would have done.
func (c *Chain) Straight() bool {
	for _, s := range c.segments {
		if s.Kind() == shmem.Device {
			return false
		}
	}
	return true
}

// Fill lets fn fill the next device-writable bytes, at most n and as far as 1024 buffers reach,
// in the driver's own memory: v is for preadv, readv, recvmsg and the like, and only until fn
// returns. What fn returns counts as written, and is returned, with fn's error. io.ErrShortWrite
// means that nothing is left to fill; other errors of Fill's own are those of Write.
//
// While fn runs the driver waits with a reset. So fn must not block for longer than a regular
// file does.
func (c *Chain) Fill(n uint64, fn func(v [][]byte) (int, error)) (filled int, err error) {
	if !c.flying {
		return 0, ErrDone
	}
	if n = min(n, c.Writable()); n == 0 {
		return 0, io.ErrShortWrite
	}
	filled, err = c.straight(c.segments[c.split:], c.to, n, fn)
	c.written += uint64(filled)
	c.to.advance(c.segments[c.split:], uint64(filled))
	return filled, err
}

// Drain lets fn take the next device-readable bytes, at most n and as far as 1024 buffers reach,
// out of the driver's own memory: v is for pwritev, writev, sendmsg and the like, and only until
// fn returns. The driver may change it meanwhile: it is for passing on, not for looking at. What
// fn returns counts as read, and is returned, with fn's error. io.EOF means that nothing is left;
// other errors of Drain's own are those of Read. As with Fill, fn must not block for long.
func (c *Chain) Drain(n uint64, fn func(v [][]byte) (int, error)) (drained int, err error) {
	if !c.flying {
		return 0, ErrDone
	}
	if n = min(n, c.Readable()); n == 0 {
		return 0, io.EOF
	}
	drained, err = c.straight(c.segments[:c.split], c.at, n, fn)
	c.read += uint64(drained)
	c.at.advance(c.segments[:c.split], uint64(drained))
	return drained, err
}

// straight calls fn with n bytes of the segments from a position on, behind the gate.
func (c *Chain) straight(segments []shmem.Span, from cursor, n uint64, fn func([][]byte) (int, error)) (done int, err error) {
	c.vector = c.vector[:0]
	var size int
	for ; n > 0 && len(c.vector) < maxVector; from.seg, from.off = from.seg+1, 0 {
		s := segments[from.seg]
		b, ok := s.Slice(from.off, min(n, s.Len()-from.off)).Bytes()
		if !ok {
			return 0, ErrNotStraight
		}
		c.vector = append(c.vector, b)
		size += len(b)
		n -= uint64(len(b))
	}
	if !c.q.free {
		if !c.q.gate.admit() {
			return 0, ErrShut
		}
		defer c.q.leave(shmem.Guard(), &err)
		if !c.q.gate.stands() {
			return 0, ErrShut
		}
	}
	done, err = fn(c.vector)
	if done > size {
		panic("vring: more bytes reported than the buffers have")
	}
	return max(done, 0), err // a system call's -1 comes with its error
}

// WriteAt overwrites bytes from off on that were written already: a header, say, of what was not
// known before its body. The length of what was written stays; io.ErrShortWrite says that p goes
// beyond it, and then nothing was done. Other errors are those of Write.
func (c *Chain) WriteAt(p []byte, off int64) (n int, err error) {
	if !c.flying {
		return 0, ErrDone
	}
	if off < 0 || uint64(off) > c.written || uint64(len(p)) > c.written-uint64(off) {
		return 0, io.ErrShortWrite
	}
	to, written := c.to, c.written
	defer func() { c.to, c.written = to, written }()
	c.Truncate(uint32(off))
	return c.Write(p)
}

// Truncate forgets what was written beyond the first n bytes: they are not counted in the used
// ring, and Write goes on behind them.
func (c *Chain) Truncate(n uint32) {
	if uint64(n) < c.written {
		c.written, c.to = uint64(n), cursor{}
		c.to.advance(c.segments[c.split:], uint64(n))
	}
}

// advance moves over n bytes of the segments.
func (t *cursor) advance(segments []shmem.Span, n uint64) {
	for n > 0 {
		k := min(n, segments[t.seg].Len()-t.off)
		t.forward(k, segments[t.seg].Len())
		n -= k
	}
}
