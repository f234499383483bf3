package vring

import (
	"errors"
	"fmt"
)

// What a driver can do wrong, to be tested with errors.Is on a *RingError or *ChainError.
var (
	ErrSize      = errors.New("queue size is not a power of two up to 32768")
	ErrAlign     = errors.New("ring area is misaligned")
	ErrAddress   = errors.New("address is outside the shared memory")
	ErrOverlap   = errors.New("ring areas overlap")
	ErrAvailJump = errors.New("available index moved by more than the queue size")
	ErrHead      = errors.New("available ring names a descriptor beyond the table")
	ErrNext      = errors.New("next field points beyond the descriptor table")
	ErrLoop      = errors.New("descriptor chain is longer than the queue")
	ErrIndirect  = errors.New("indirect descriptor is not allowed here")
	ErrTable     = errors.New("indirect table has an illegal length")
	ErrOrder     = errors.New("device-readable descriptor after a device-writable one")
	ErrTooBig    = errors.New("descriptor chain describes 4 GiB or more")
	// ErrShut means that the Gate of the queue is shut: the session is over, the memory is the
	// driver's own again.
	ErrShut = errors.New("session is over")
	// ErrDone means that the Chain was pushed already, or never popped.
	ErrDone = errors.New("descriptor chain is not in flight")
	// ErrNotStraight means that no system call may touch the memory of the Chain.
	ErrNotStraight = errors.New("descriptor chain lies in device memory")
)

// RingError is a fault of the ring itself. It latches: the Queue takes no more chains.
type RingError struct {
	Queue int // queue index
	Head  int // head of the chain where it showed, or -1
	Err   error
}

// Error names the queue, the chain if there is one, and the reason.
func (e *RingError) Error() string {
	if e.Head < 0 {
		return fmt.Sprintf("queue %d: ring broken: %v", e.Queue, e.Err)
	}
	return fmt.Sprintf("queue %d: ring broken at chain %d: %v", e.Queue, e.Head, e.Err)
}

// Unwrap is the reason, for errors.Is.
func (e *RingError) Unwrap() error { return e.Err }

// ChainError is a fault of one chain in a sound ring. Pop has given the chain back already,
// with length 0; the next Pop goes on behind it.
type ChainError struct {
	Queue int // queue index
	Head  int // head of the chain
	Err   error
}

// Error names the queue, the chain and the reason.
func (e *ChainError) Error() string {
	return fmt.Sprintf("queue %d: chain %d refused: %v", e.Queue, e.Head, e.Err)
}

// Unwrap is the reason, for errors.Is.
func (e *ChainError) Unwrap() error { return e.Err }
