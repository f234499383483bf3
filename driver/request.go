package driver

import "context"

// Request is one chain: what the device reads, then what it writes. It may be submitted again
// when Wait has returned nil or what went wrong, or when Done is called. It is not to be copied,
// or changed while it is in flight.
type Request struct {
	// Out is what the device reads. It is copied into the window at Submit.
	Out []byte
	// In is where what the device writes is copied to at completion, N bytes of it.
	In []byte
	// OutBuffer and InBuffer, if not zero, are memory of the window to use in place of Out and In,
	// without a copy.
	OutBuffer, InBuffer Buffer
	// Done, if not nil, is called at completion instead of waking Wait. It runs on whatever
	// goroutine serves the doorbell: it must not block or wait for another request, but it may
	// submit.
	Done func(*Request)

	// N is the number of bytes the device wrote, valid at completion.
	N int
	// Err is nil or why the request failed, valid at completion.
	Err error

	waiter
	w         *Window
	out, in   Buffer // bounce buffers, free at completion
	flying    bool
	watched   bool // its waiter watches the ring: no interrupt is needed
	abandoned bool // of Do, which has returned
}

// Wait waits for the completion of a request that was submitted without Done, and returns its
// Err; at once when there is nothing to wait for. When ctx ends first the request stays in
// flight: wait for it again. One goroutine.
func (r *Request) Wait(ctx context.Context) error {
	if r.state.Load() == idle {
		return r.Err
	}
	if err := r.w.wait(ctx, &r.waiter); err != nil {
		return err
	}
	return r.Err
}
