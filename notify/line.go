package notify

import "errors"

// Line is one side of a doorbell: it rings the peer and waits for the peer's
// rings. Any ring means "look at everything".
type Line interface {
	// Raise rings the peer. It never blocks and allocates nothing. A ring that
	// finds one already pending merges with it, and a ring with no peer to hear
	// it is no error: a peer that comes later looks at everything anyway. After
	// Close the error wraps ErrClosed.
	//
	// Concurrency: safe for any number of goroutines.
	Raise() error

	// Wait returns nil once there was a ring or a Wake since it last returned
	// (however many, they are all consumed before it returns), or for nothing.
	// After Close the error wraps ErrClosed.
	//
	// Concurrency: one goroutine at a time.
	Wait() error

	// Wake makes the pending Wait, or else the next one, return as a ring would.
	// It is never lost; several before one return of Wait merge.
	//
	// Concurrency: safe for any number of goroutines, also after Close.
	Wake()

	// Close releases the line and makes Wait fail. A second Close does nothing
	// and returns nil.
	//
	// Concurrency: safe beside every other method.
	Close() error
}

// Adaptive is what a Line without an incoming signal has besides: the caller of
// Wait says that its last look found work, and the next looks come sooner.
type Adaptive interface {
	// Busy reports that a look found work.
	//
	// Concurrency: safe for any number of goroutines.
	Busy()
}

// ErrClosed is wrapped by the errors of a Line that was closed by its owner.
var ErrClosed = errors.New("line closed")

// ErrPeerGone is wrapped by the error of Wait on a dialled line whose peer has
// closed the connection. It stays; dial again for a new one.
var ErrPeerGone = errors.New("peer closed the connection")

// Error is the type of every error of this package: which operation failed on
// which line. It unwraps to its cause.
type Error struct {
	Op   string // "raise", "wait", "listen", "dial", "open" or "close"
	Line string // the kind of line, and its address where it has one
	Err  error
}

// Error describes the failure in one line.
func (e *Error) Error() string { return "notify: " + e.Op + " " + e.Line + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// wrap adds operation and line to an error, and leaves nil nil.
func wrap(op, line string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Line: line, Err: err}
}
