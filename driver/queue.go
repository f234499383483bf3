package driver

import (
	"context"
	"errors"
)

// Queue is one virtqueue of a started device. Any number of goroutines may submit to it, wait
// on it and be called back from it at the same time; requests submitted by one goroutine are
// made available in that order, and completions are delivered one at a time, in the order in
// which the device used them.
type Queue struct{}

// Request is one chain: what the device reads, then what it writes. It may be submitted again
// once it is complete, and is not to be copied or changed in between.
type Request struct {
	// Out is what the device reads. It is copied into the window at Submit.
	Out []byte
	// In is where what the device writes is copied to at completion, N bytes of it.
	In []byte
	// OutBuffer and InBuffer, if not zero, are memory of the window to use in place of Out and In,
	// without a copy.
	OutBuffer, InBuffer Buffer
	// Done, if not nil, is called at completion instead of waking Wait. It runs on whatever
	// goroutine serves the doorbell: it must not block nor wait for another request, but it may
	// submit.
	Done func(*Request)

	// N is the number of bytes the device wrote, valid at completion.
	N int
	// Err is nil or why the request failed, valid at completion.
	Err error
}

// Size is the number of descriptors.
func (q *Queue) Size() int { return 0 }

// Do sends out to the device, waits for the answer and copies it to in; n is how many bytes the
// device wrote. Either may be empty, not both. When the queue is full it waits for room. When
// ctx ends first the device may still act on the request, but in stays untouched from then on.
func (q *Queue) Do(ctx context.Context, out, in []byte) (n int, err error) {
	return 0, errors.New("driver: not yet")
}

// Submit makes the requests available in order, with at most one doorbell, and returns how many
// of them: all, or those before the one that met err. It never waits: a full queue is ErrFull.
func (q *Queue) Submit(requests ...*Request) (int, error) {
	return 0, errors.New("driver: not yet")
}

// Wait waits for the completion of a request that was submitted without Done, and returns its
// Err. When ctx ends first the request stays in flight; wait for it again.
func (r *Request) Wait(ctx context.Context) error { return errors.New("driver: not yet") }
