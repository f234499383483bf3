package driver

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
)

// Queue is one virtqueue of a started device. Any number of goroutines may submit to it, wait
// on it and be called back from it at the same time; requests submitted by one goroutine are
// made available in that order, and completions are delivered one at a time, in the order in
// which the device used them.
type Queue struct {
	w     *Window
	d     *Device
	index int

	polls atomic.Int32        // calls of poll since its turn began
	batch [batchSize]*Request // completions of this turn

	mu       sync.Mutex
	mem      Buffer // of the ring
	ring     *Ring
	segments [2]Segment
	flight   []*Request // by head
	spare    []*Request // of Do
	line     []*Request // of Do: those waiting for room, in order
	sleepers int        // requests in flight whose waiter does not watch the ring
	acked    bool       // the back-end has taken the ring
	live     bool
	err      error    // what ended the queue
	lent     []Buffer // memory of requests that failed: the device's until it is reset
}

// batchSize is how many completions are taken in one turn of the lock.
const batchSize = 32

// Device is the device the queue belongs to.
func (q *Queue) Device() *Device { return q.d }

func newQueue(d *Device, index int, ring *Ring, mem Buffer) *Queue {
	ring.Disarm() // until somebody sleeps
	return &Queue{w: d.w, d: d, index: index, mem: mem, ring: ring, flight: make([]*Request, ring.Size())}
}

// pfn is where a version 1 device is told that the ring lies.
func (q *Queue) pfn() uint32 { return uint32(q.mem.Addr / pageSize) }

// Size is the number of descriptors.
func (q *Queue) Size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ring.Size()
}

func (q *Queue) goLive() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.live = true
}

// Submit makes the requests available in order, with at most one doorbell, and returns how many
// of them: all, or those before the one that met err. It never waits, and calls no Done: a full
// queue is ErrFull, plain, which is not a failure. Other errors are for errors.Is.
func (q *Queue) Submit(requests ...*Request) (int, error) {
	q.mu.Lock()
	n, kick, err := q.add(requests, false)
	q.mu.Unlock()
	if kick {
		q.kick()
	}
	if err != nil && err != ErrFull {
		err = q.named(err)
	}
	return n, err
}

// named says where an error is from.
func (q *Queue) named(err error) error {
	if ring := (*RingError)(nil); errors.As(err, &ring) {
		return fmt.Errorf("driver: %v: %w", q.d, err) // which says the queue
	}
	return fmt.Errorf("driver: %v: queue %d: %w", q.d, q.index, err)
}

// kick tells the back-end. When that cannot be done, what is in flight fails.
func (q *Queue) kick() {
	if err := q.notify(); err != nil {
		q.w.failLater(err)
	}
}

func (q *Queue) notify() (err error) {
	if q.w.guard {
		defer shmem.Recover(&err, shmem.Guard())
	}
	// The available index in the ring is all that a device of hvl-v2 looks at.
	if q.d.page == nil {
		q.d.store(mmio.RegQueueNotify, uint32(q.index))
	}
	return q.w.opts.Line.Raise()
}

// leave ends the guard of an access to the ring under the lock. Memory that faults is lost to
// the whole window.
func (q *Queue) leave(before bool, err *error) {
	debug.SetPanicOnFault(before)
	if r := recover(); r != nil {
		q.err = shmem.Caught(r)
		*err = q.err
		q.w.failLater(q.err)
	}
}

// add puts requests into the ring, up to the first that meets an error. watched says that their
// waiter watches the ring. The lock is held.
func (q *Queue) add(requests []*Request, watched bool) (n int, kick bool, err error) {
	if q.w.guard {
		defer q.leave(shmem.Guard(), &err)
	}
	for _, r := range requests {
		if err = q.addOne(r, watched); err != nil {
			break
		}
		n++
	}
	if n == 0 {
		return 0, false, err
	}
	kick = q.ring.Publish() || q.d.page == nil && q.w.opts.Dialect == Zephyr2021
	return n, kick, err
}

func (q *Queue) addOne(r *Request, watched bool) error {
	switch {
	case q.err != nil:
		return q.err
	case !q.live:
		return ErrNotLive
	case r.state.Load() != idle:
		return ErrBusy
	}
	segments, err := q.place(r)
	if err != nil {
		return err
	}
	head, err := q.ring.Add(segments)
	if err != nil {
		r.drop()
		return err
	}
	r.reset()
	r.w, r.N, r.Err = q.w, 0, nil
	r.flying, r.watched = true, watched
	q.flight[head] = r
	if !watched {
		q.sleeps()
	}
	return nil
}

// sleeps counts a request whose waiter needs an interrupt, asked for at the next Publish.
func (q *Queue) sleeps() {
	if q.sleepers++; q.sleepers == 1 {
		q.ring.want()
	}
}

// place finds memory for a request's bytes, and copies those that the device reads.
func (q *Queue) place(r *Request) (segments []Segment, err error) {
	segments = q.segments[:0]
	out, in := r.OutBuffer, r.InBuffer
	needed := 0
	for _, n := range [2]int{max(out.Len(), len(r.Out)), max(in.Len(), len(r.In))} {
		if n > 0 {
			needed++
		}
	}
	if needed > q.ring.Room() && needed <= q.ring.Size() {
		return nil, ErrFull // before anything is copied
	}
	if out.Len() == 0 && len(r.Out) > 0 {
		if r.out, err = q.d.pool.alloc(uint64(len(r.Out)), unit); err != nil {
			return nil, err
		}
		out = r.out
		out.span.WriteAt(r.Out, 0)
	}
	if in.Len() == 0 && len(r.In) > 0 {
		if r.in, err = q.d.pool.alloc(uint64(len(r.In)), unit); err != nil {
			r.drop()
			return nil, err
		}
		in = r.in
	}
	if out.Len() > 0 {
		segments = append(segments, Segment{Addr: out.Addr, Len: uint32(out.Len())})
	}
	if in.Len() > 0 {
		segments = append(segments, Segment{Addr: in.Addr, Len: uint32(in.Len()), Write: true})
	}
	return segments, nil
}

// drop frees what place took.
func (r *Request) drop() {
	r.out.Free()
	r.in.Free()
	r.out, r.in = Buffer{}, Buffer{}
}
