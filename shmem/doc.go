// Package shmem is the memory that a device shares with a driver which is not trusted, may not
// be cached, and may not even stay. Everything that touches it goes through this package, the
// only one here that imports unsafe.
//
// # From a file to a word
//
// A [Region] is one mapping: a file ([OpenFile]), a sealed memfd ([NewMemfd]), a file somebody
// passed ([OpenFD]), a UIO device ([OpenUIO]), physical memory ([OpenDevMem]), or the heap for
// tests ([NewHeap], [NewStrict]). A [Space] places parts of Regions at the addresses by which
// the driver knows them, and turns an address and a length that the driver wrote into a [Span],
// or into an error: a sum that overflows, a hole, and the end of a window are the driver's
// mistakes and cost it an error, never this process a panic. A Span is a piece of memory with
// bounds. Its methods are the loads, the stores and the copies; to leave its bounds or to
// misalign a word is a mistake of this program, and panics with an [AccessError].
//
// # Kinds
//
// What a CPU may do to memory depends on how it is mapped, and on arm64 the wrong instruction
// is a bus error:
//
//	                              Normal     Uncached   Device
//	mapped by                     OpenFile   As         OpenUIO
//	                              NewMemfd              OpenDevMem
//	aligned loads and stores      yes        yes        yes
//	load-acquire, store-release   yes        yes        yes
//	copy and clear of Go, Bytes   yes        yes        no
//	compare-and-swap              yes        no         no
//
// [Span.ReadAt], [Span.WriteAt] and [Span.Zero] are right for every [Kind]: on Device memory
// they move aligned words and nothing else. An ordinary copy would not do there even for
// lengths that look aligned, because memmove covers the ends of a block with unaligned
// accesses and memclr clears cache lines with DC ZVA. [Span.Bytes], for system calls straight
// into the memory, says no on Device memory, and [Span.CompareAndSwap32] panics wherever
// [Kind.CompareAndSwap] is false.
//
// OpenUIO and OpenDevMem assume the worst, Device. An integrator whose driver maps otherwise
// says so with [Region.As].
//
// # Who may do what
//
// Every word of a ring has one writer, and the other side may change its own words at any
// moment. So a value is loaded once, into a variable, and checked there: memory read a second
// time is memory somebody may have changed. Nothing here locks; methods of a Span may be called
// from any goroutine, and whose word it is decides who may store.
//
// Go has no atomics of 16 bits. [Span.Load16] loads the aligned 32-bit word around the value,
// which is harmless, since an aligned word never crosses a page. A store must not
// touch its neighbours, so [Span.Store16Plain] is a plain store of 16 bits, and order comes from
// a fence.
//
// # Fences
//
// Load32, Load16 and Store32 are sequentially consistent, as all of sync/atomic is: what a
// driver stored before it published an index is there after Load16 has read that index, and
// what a device stored is there for a driver that sees what Store32 stored afterwards.
//
// One order needs more. A device that goes to sleep says so, by an event index or a flag, and
// looks at the ring once more; the driver adds to the ring and looks whether to ring the bell.
// If either look may happen before the store, both sides miss each other and the device sleeps
// on a full ring. CPUs do reorder these two, x86 included. [Fence.StoreLoad] between the store
// and the look keeps them apart, without assembly and without touching shared memory. It holds
// among CPUs of one coherent domain.
//
// # Memory that goes away
//
// A file can be truncated and a UIO device unbound while they are mapped; the next access is a
// SIGBUS, which ends a Go program. Between [Guard] and [Recover] it becomes a [FaultError]
// instead: the device that used the memory has failed, the process and its other devices go on.
// A guard holds for the goroutine that set it up, so it belongs into the function that does the
// accesses, once for a batch of them. [Region.Sealed] tells where it is not needed. A panic
// that is no fault of shared memory, such as a nil dereference or an AccessError, is a bug, and
// passes through.
//
// # Tests
//
// [NewStrict] makes heap memory that is as particular as Device memory on a bus of four or
// eight bytes. A backend that passes its tests on it will not fault on the board.
//
// The race detector watches the heap but not mappings. On NewHeap it finds goroutines of this
// process at odds with each other; a test with both sides of a ring in one process, where plain
// and atomic accesses meet by design, needs NewMemfd.
//
// The fence and the halves of a word have been checked for amd64 and arm64; on other machines
// the package does not compile.
package shmem
