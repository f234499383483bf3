package shmem

import "sync/atomic"

// Fence is the store-load barrier of a device or driver that is about to sleep: what was
// stored before StoreLoad is visible before any later Load32 or Load16 of a Span reads.
//
// It is one atomic store to private memory. On amd64 that is an XCHG, a full barrier; on arm64
// it is a store-release, which keeps earlier stores before it, and the load-acquire that Go's
// atomics use is never reordered before an earlier store-release. A Fence orders observers of
// one coherent domain; it must not be shared between goroutines. The zero Fence is ready.
type Fence struct{ word uint32 }

// StoreLoad is the barrier.
func (f *Fence) StoreLoad() { atomic.StoreUint32(&f.word, 1) }
