package vring_test

import "sync/atomic"

// spsc is the yardstick: two single-producer, single-consumer rings that carry what a queue
// carries, buffers one way and completions the other, between sides that trust each other. No
// address is checked, no notification decided, no memory can vanish.
type spsc struct {
	request, completion spscRing
	next, published     uint32
}

type spscRing struct {
	head, tail atomic.Uint32 // as seen by the other side
	_          [56]byte
	slots      [256]struct{ addr, len uint64 }
}

// serve is what a device does with n requests: take, complete, and publish once.
func (s *spsc) serve(n int) {
	for range n {
		if s.next == s.request.head.Load() {
			panic("the yardstick ran dry")
		}
		slot := &s.request.slots[s.next&255]
		done := &s.completion.slots[s.next&255]
		done.addr, done.len = slot.addr, slot.len
		s.next++
	}
	s.request.tail.Store(s.next)
	s.completion.head.Store(s.next)
}

// refill makes all 256 requests available again.
func (s *spsc) refill() { s.request.head.Add(256) }
