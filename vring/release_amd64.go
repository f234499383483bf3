package vring

// releaseUsed stores flags and index after every element before them, without a barrier: each
// store of amd64 releases, and the compiler keeps stores to memory in their order, of which
// TestRING_09 is the proof. Go's atomic store would be an XCHG, which stalls until the driver
// has given up the cache line.
func (q *Queue) releaseUsed() {
	q.stored = q.flags
	q.used.Store32Plain(0, q.usedWord())
}
