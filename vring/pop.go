package vring

import (
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/hypervisorless/virtio/shmem"
)

// Pop takes the next available chain into c, whose former contents are forgotten; if they were
// a chain of this queue still in flight, that one is given back with length 0. ok is false
// when there is none. A *ChainError means that one chain was refused and given back: pop on.
// Any other error is final: the ring is broken, the memory gone or the session over.
//
// Every descriptor is read once and checked before use (2.7.4.2, 2.7.5): buffers lie in the
// Space, readable ones come first, a chain has at most Size of them and less than 4 GiB. What
// breaks the ring does so wherever it stands in the chain: a loop is a loop behind a bad
// buffer, too.
func (q *Queue) Pop(c *Chain) (ok bool, err error) {
	if q.broken != nil {
		return false, q.broken
	}
	if q.free {
		return q.pop(c)
	}
	if !q.gate.admit() {
		return false, ErrShut
	}
	defer q.latch(shmem.Guard(), &err)
	if !q.gate.stands() {
		return false, ErrShut
	}
	return q.pop(c)
}

func (q *Queue) pop(c *Chain) (bool, error) {
	if len(q.redo) > 0 {
		head := q.redo[0]
		q.redo, q.redone = q.redo[1:], true
		return q.take(c, head)
	}
	if q.next == q.seen {
		idx := q.avail.Load16(offIdx)
		if idx-q.next > q.size {
			if q.patient {
				return false, nil
			}
			return false, q.fault(-1, fmt.Errorf("from %d to %d: %w", q.next, idx, ErrAvailJump))
		}
		if idx == q.next {
			return false, nil
		}
		q.seen = idx
	}
	head := q.avail.Load16Plain(offRing + 2*uint64(q.next&q.mask))
	if head >= q.size {
		return false, q.fault(-1, fmt.Errorf("entry %d: %w", head, ErrHead))
	}
	q.next++
	if q.journal != nil {
		q.journal.Take(head, q.next-1)
	}
	return q.take(c, head)
}

// take fills c with the chain at head.
func (q *Queue) take(c *Chain, head uint16) (bool, error) {
	q.Refuse(c)
	c.reset(q, head)
	if err := q.walk(c); err != nil {
		c.readable, c.writable = 0, 0
		if _, refused := err.(*ChainError); refused {
			q.push(uint32(head), 0)
		}
		return false, err
	}
	c.flying = true
	return true, nil
}

// walk follows the chain that starts at c.head. Faults of the table are the ring's, since
// nothing says where the chain should have gone; faults of a buffer are the chain's.
func (q *Queue) walk(c *Chain) error {
	var (
		table, entries = q.desc, uint32(q.size)
		inTable        bool
		refused        error // the first fault of a buffer
	)
	for i := uint32(c.head); ; {
		addr, rest := descriptor(table, i)
		n, flags, next := uint32(rest), uint16(rest>>32), uint16(rest>>48)
		q.walked++

		if flags&DescIndirect != 0 {
			if !q.indirect {
				return q.refuse(c, cmp.Or(refused, ErrIndirect))
			}
			if inTable || flags&DescNext != 0 {
				return q.fault(int(c.head), ErrIndirect)
			}
			if n == 0 || n%16 != 0 || n/16 > uint32(q.size) {
				return q.refuse(c, cmp.Or(refused, fmt.Errorf("%d bytes: %w", n, ErrTable)))
			}
			span, err := q.space.Span(addr, uint64(n))
			if err != nil {
				return q.fault(int(c.head), fmt.Errorf("indirect table: %w: %w", ErrAddress, err))
			}
			table, entries, inTable, i = span, n/16, true, 0
			continue
		}

		if c.descriptors == int(q.size) {
			return q.fault(int(c.head), ErrLoop)
		}
		c.descriptors++
		if refused == nil {
			refused = c.add(addr, n, flags&DescWrite != 0)
		}

		if flags&DescNext == 0 {
			if refused != nil {
				return q.refuse(c, refused)
			}
			return nil
		}
		if uint32(next) >= entries {
			return q.fault(int(c.head), fmt.Errorf("next %d of %d: %w", next, entries, ErrNext))
		}
		i = uint32(next)
	}
}

// descriptor reads entry i of a table, each byte once. Indirect tables may lie anywhere.
func descriptor(table shmem.Span, i uint32) (addr, rest uint64) {
	off := 16 * uint64(i)
	if table.Aligned(8) {
		return table.Load64Plain(off), table.Load64Plain(off + 8)
	}
	var b [16]byte
	table.ReadAt(b[:], off)
	return binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
}

func (q *Queue) fault(head int, err error) error {
	q.broken = &RingError{Queue: q.index, Head: head, Err: err}
	return q.broken
}

func (q *Queue) refuse(c *Chain, err error) error {
	return &ChainError{Queue: q.index, Head: int(c.head), Err: err}
}
