package driver

import (
	"fmt"
	"math/bits"
	"sync"

	"github.com/hypervisorless/virtio/shmem"
)

// unit is the granule of a pool, a cache line: buffers of both sides never share one.
const unit = 64

// pool hands out a part of the window: the lowest free run that is long enough, so that the
// same calls give the same addresses at every boot. What is free is one bit a unit, in private
// memory; freed neighbours are one run at once. An allocation looks at each word of the map
// once at most. Safe for concurrent use.
type pool struct {
	addr uint64 // of the first unit
	span shmem.Span
	n    uint64 // units

	mu   sync.Mutex
	used []uint64
	low  uint64 // no unit below is free
}

// newPool is a pool of the whole units in [addr, end).
func newPool(space *shmem.Space, addr, end uint64) (*pool, error) {
	start := (addr + unit - 1) &^ (unit - 1)
	n := (end - start) / unit
	if start < addr || end < start || n == 0 {
		return nil, fmt.Errorf("no room for buffers between %#x and %#x", addr, end)
	}
	span, err := space.Span(start, n*unit)
	if err != nil {
		return nil, err
	}
	p := &pool{addr: start, span: span, n: n, used: make([]uint64, (n+63)/64)}
	if tail := n % 64; tail != 0 {
		p.used[len(p.used)-1] = ^uint64(0) << tail // what is beyond the end is never free
	}
	return p, nil
}

// Buffer is memory of a window. The zero Buffer is none.
type Buffer struct {
	// Addr is the driver's address of its first byte, what a descriptor holds.
	Addr uint64
	span shmem.Span
	pool *pool
}

// Len is its length in bytes.
func (b Buffer) Len() int { return int(b.span.Len()) }

// Bytes is the memory itself; ok is false where the memory only takes ReadAt and WriteAt.
func (b Buffer) Bytes() (p []byte, ok bool) { return b.span.Bytes() }

// ReadAt copies len(p) bytes at off out of the buffer; the range must lie inside. Memory that has
// vanished faults, as it does in WriteAt: see shmem.Guard.
func (b Buffer) ReadAt(p []byte, off int) { b.span.ReadAt(p, uint64(off)) }

// WriteAt copies p into the buffer at off; the range must lie inside.
func (b Buffer) WriteAt(p []byte, off int) { b.span.WriteAt(p, uint64(off)) }

// Slice is the piece [off, off+n) of the buffer, for requests that use less than all of it; only
// the whole is freed.
func (b Buffer) Slice(off, n int) Buffer {
	return Buffer{Addr: b.Addr + uint64(off), span: b.span.Slice(uint64(off), uint64(n))}
}

// Free gives the memory back. No request may use it any more. Freeing what is not allocated
// panics.
func (b Buffer) Free() {
	if b.pool != nil {
		b.pool.release(b)
	}
}

// alloc is the lowest free run of n bytes at a multiple of align, a power of two.
func (p *pool) alloc(n, align uint64) (Buffer, error) {
	units := (n + unit - 1) / unit
	if n == 0 || units > p.n {
		return Buffer{}, ErrNoMemory
	}
	step := max(align, unit) / unit
	p.mu.Lock()
	defer p.mu.Unlock()
	p.low = p.next(p.low, p.n, free)
	for at := p.low; ; at = p.next(at, p.n, free) {
		at += -(p.addr/unit + at) & (step - 1) // the address is what is aligned
		if at > p.n || units > p.n-at {
			return Buffer{}, ErrNoMemory
		}
		end := p.next(at, at+units, taken)
		if end == at+units {
			p.mark(at, units)
			return Buffer{Addr: p.addr + at*unit, span: p.span.Slice(at*unit, n), pool: p}, nil
		}
		at = end
	}
}

// What next looks for, as what turns a word of the map into one of hits.
const (
	free  = ^uint64(0)
	taken = uint64(0)
)

// next is the first unit in [at, end) that is free, or taken; end if there is none.
func (p *pool) next(at, end uint64, what uint64) uint64 {
	for at < end {
		if hits := (p.used[at/64] ^ what) >> (at % 64); hits != 0 {
			return min(at+uint64(bits.TrailingZeros64(hits)), end)
		}
		at = at&^63 + 64
	}
	return end
}

// mark flips the bits of a run.
func (p *pool) mark(at, units uint64) {
	for units > 0 {
		n := min(64-at%64, units)
		p.used[at/64] ^= (^uint64(0) >> (64 - n)) << (at % 64)
		at += n
		units -= n
	}
}

func (p *pool) release(b Buffer) {
	at := (b.Addr - p.addr) / unit
	units := (b.span.Len() + unit - 1) / unit
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next(at, at+units, free) < at+units {
		panic(fmt.Sprintf("driver: buffer of %d bytes at %#x is not allocated", b.Len(), b.Addr))
	}
	p.mark(at, units)
	p.low = min(p.low, at)
}
