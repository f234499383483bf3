package mmio

import "math/bits"

// The record: what a monitor needs to take over the session of one that died, in words of the
// header that no driver touches. It is written before each acknowledgement and is trusted no
// more than a driver's request. Word 0 checks the others and names the queue acknowledged
// last; word 1+i holds queue i as PFN<<4 | log2(size), 0 for none.

const recordQueues = (regRecordLast - regRecord) / 4

// remember writes the record of the session with r as the request about to be acknowledged.
// What does not fit (more queues, rings beyond 2^40, another page size or alignment) leaves
// none, and the session cannot be taken over.
func (s *slot) remember(r request) {
	s.forget()
	if len(s.queues) > recordQueues || s.page != PageSize {
		return
	}
	var words [recordQueues]uint32
	for i, q := range s.queues {
		if !q.configured() {
			continue
		}
		if q.pfn >= 1<<28 || q.align != PageSize {
			return
		}
		words[i] = q.pfn<<4 | uint32(bits.TrailingZeros32(q.num))
	}
	for i, word := range words {
		s.store(regRecord+4+4*uint64(i), word)
	}
	s.store(regRecord, seal(words, r.sel))
}

// forget makes the record invalid.
func (s *slot) forget() { s.store(regRecord, 0) }

// record reads the requests of a valid record and the queue acknowledged last, which is one of
// them.
func (s *slot) record() (requests []request, sel uint32, ok bool) {
	word0 := s.load(regRecord)
	sel = word0 & sealQueue
	var words [recordQueues]uint32
	for i := range words {
		words[i] = s.load(regRecord + 4 + 4*uint64(i))
		if words[i] != 0 {
			requests = append(requests, request{pfn: words[i] >> 4, sel: uint32(i), num: 1 << (words[i] & 15)})
		}
	}
	ok = seal(words, sel) == word0 && sel < recordQueues && words[sel] != 0
	return requests, sel, ok
}

// The lowest bits of word 0: a queue number, and a bit that is always set.
const (
	sealQueue = 0x7f
	sealed    = 0x80
)

// seal is word 0: a small checksum (FNV-1a), enough to tell a record from leftovers.
func seal(words [recordQueues]uint32, sel uint32) uint32 {
	sum := uint32(2166136261)
	add := func(word uint32) {
		for range 4 {
			sum = (sum ^ word&0xff) * 16777619
			word >>= 8
		}
	}
	for _, word := range words {
		add(word)
	}
	add(sel)
	return sum&^(sealed|sealQueue) | sealed | sel&sealQueue
}
