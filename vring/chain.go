package vring

import (
	"fmt"
	"io"
	"math"

	"github.com/hypervisorless/virtio/shmem"
)

// Chain is a snapshot of one descriptor chain, taken by Pop: first the bytes the device may
// read, then the bytes it may write, however the driver cut them into descriptors (2.7.4.1).
// Make one, reuse it for ever. It is an io.Reader of the first part and an io.Writer of the
// second. One goroutine at a time may use a Chain.
type Chain struct {
	q        *Queue
	head     uint16
	flying   bool
	writing  bool         // a writable descriptor was seen
	segments []shmem.Span // readable ones first
	split    int          // index of the first writable segment

	readable, writable uint64 // totals
	read, written      uint64 // consumed so far
	descriptors        int
	at, to             cursor // of Read and Write
	vector             [][]byte
}

// cursor is a position in the segments; what is written starts at the split.
type cursor struct {
	seg int
	off uint64
}

func (c *Chain) reset(q *Queue, head uint16) {
	*c = Chain{q: q, head: head, segments: c.segments[:0], vector: c.vector}
}

// add appends one buffer, checked as far as it concerns the chain alone.
func (c *Chain) add(addr uint64, n uint32, write bool) error {
	if c.writing && !write {
		return ErrOrder
	}
	c.writing = write
	size := uint64(n)
	if c.readable+c.writable+size > math.MaxUint32 {
		return ErrTooBig
	}
	if size != 0 && addr+size-1 < addr {
		return fmt.Errorf("%d bytes at %#x: %w", size, addr, ErrAddress)
	}
	for rest := size; rest > 0; {
		s, err := c.q.space.Prefix(addr, rest)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrAddress, err)
		}
		c.segments = append(c.segments, s)
		addr += s.Len()
		rest -= s.Len()
	}
	if write {
		c.writable += size
	} else {
		c.readable += size
		c.split = len(c.segments)
	}
	return nil
}

// Head is the index of the first descriptor, which the used ring will name.
func (c *Chain) Head() uint16 { return c.head }

// Descriptors is how many buffers the driver cut the chain into, empty ones included.
func (c *Chain) Descriptors() int { return c.descriptors }

// Readable is how many device-readable bytes have not been read yet.
func (c *Chain) Readable() uint64 { return c.readable - c.read }

// Writable is how many device-writable bytes have not been written yet.
func (c *Chain) Writable() uint64 { return c.writable - c.written }

// Written is how many bytes were written so far, from the first writable one without a gap:
// the length the used ring will say.
func (c *Chain) Written() uint32 { return uint32(c.written) }

// Read copies the next device-readable bytes into p; io.EOF when none are left. Any other
// error means that the chain can no longer be served: ErrShut, ErrDone, *shmem.FaultError.
func (c *Chain) Read(p []byte) (n int, err error) {
	if !c.flying {
		return 0, ErrDone
	}
	if c.Readable() == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	if c.q.free {
		return c.copyOut(p), nil
	}
	if !c.q.gate.admit() {
		return 0, ErrShut
	}
	defer c.q.leave(shmem.Guard(), &err)
	if !c.q.gate.stands() {
		return 0, ErrShut
	}
	return c.copyOut(p), nil
}

// Write copies p into the next device-writable bytes; io.ErrShortWrite when not all of it
// fits. Any other error means that the chain can no longer be served: ErrShut, ErrDone,
// *shmem.FaultError.
func (c *Chain) Write(p []byte) (n int, err error) {
	if !c.flying {
		return 0, ErrDone
	}
	if uint64(len(p)) > c.Writable() {
		p, err = p[:c.Writable()], io.ErrShortWrite
	}
	if len(p) == 0 {
		return 0, err
	}
	if c.q.free {
		return c.copyIn(p), err
	}
	if !c.q.gate.admit() {
		return 0, ErrShut
	}
	defer c.q.leave(shmem.Guard(), &err)
	if !c.q.gate.stands() {
		return 0, ErrShut
	}
	return c.copyIn(p), err
}

func (c *Chain) copyOut(p []byte) (n int) {
	for n < len(p) && c.at.seg < c.split {
		s := &c.segments[c.at.seg]
		k := min(uint64(len(p)-n), s.Len()-c.at.off)
		s.ReadAt(p[n:n+int(k)], c.at.off)
		n += int(k)
		c.at.forward(k, s.Len())
	}
	c.read += uint64(n)
	return n
}

func (c *Chain) copyIn(p []byte) (n int) {
	for n < len(p) && c.split+c.to.seg < len(c.segments) {
		s := &c.segments[c.split+c.to.seg]
		k := min(uint64(len(p)-n), s.Len()-c.to.off)
		s.WriteAt(p[n:n+int(k)], c.to.off)
		n += int(k)
		c.to.forward(k, s.Len())
	}
	c.written += uint64(n)
	return n
}

func (t *cursor) forward(k, size uint64) {
	if t.off += k; t.off == size {
		t.seg, t.off = t.seg+1, 0
	}
}
