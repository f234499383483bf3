package vring_test

import "sync/atomic"

// spsc is the yardstick: two single-producer, single-consumer rings that carry what a queue
// carries, buffers one way and completions the other, between sides that trust each other. No
// address is checked, no notification decided, no memory can vanish.
type spsc struct {
	request, completion spscRing
	next                uint32
}

type spscRing struct {
	head, tail atomic.Uint32 // as seen by the other side
	_          [56]byte
	slots      []spscSlot
}

type spscSlot struct {
	buffer []byte
	len    int
}

func newSPSC(size int) *spsc {
	s := &spsc{}
	s.request.slots, s.completion.slots = make([]spscSlot, size), make([]spscSlot, size)
	for i := range s.request.slots {
		s.request.slots[i].buffer = make([]byte, 64)
	}
	return s
}

// serve is what a device does with n requests: take, fill, complete, and publish once.
func (s *spsc) serve(n int, payload []byte) {
	mask := uint32(len(s.request.slots) - 1)
	for range n {
		if s.next == s.request.head.Load() {
			panic("the yardstick ran dry")
		}
		slot, done := &s.request.slots[s.next&mask], &s.completion.slots[s.next&mask]
		done.buffer, done.len = slot.buffer, copy(slot.buffer, payload)
		s.next++
	}
	s.request.tail.Store(s.next)
	s.completion.head.Store(s.next)
}

// refill makes all requests available again.
func (s *spsc) refill() { s.request.head.Add(uint32(len(s.request.slots))) }
