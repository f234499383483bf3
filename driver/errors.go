package driver

import (
	"errors"
	"fmt"
)

// Errors of requests, all for errors.Is.
var (
	// ErrFull: the queue has too few free descriptors now.
	ErrFull = errors.New("queue is full")
	// ErrTooLong: the chain has more descriptors than the queue, or more bytes than a chain may.
	ErrTooLong = errors.New("chain is too long")
	// ErrEmpty: the request has neither bytes to read nor bytes to write.
	ErrEmpty = errors.New("request has no buffers")
	// ErrBusy: the request is still in flight.
	ErrBusy = errors.New("request is in flight")
	// ErrNoMemory: the window, or the device's part of it, has no free run of that length.
	ErrNoMemory = errors.New("no memory in the window")
	// ErrNotLive: the device has not been started.
	ErrNotLive = errors.New("device is not live")
	// ErrClosed: the Window was closed.
	ErrClosed = errors.New("window closed")

	// Errors of hvl-v2. After ErrNoAnswer and ErrDetached the device may still have the memory it
	// was given, which is therefore not used again before a Start or Reset that succeeds.

	// ErrNoAnswer: the back-end shows no sign of life.
	ErrNoAnswer = errors.New("the back-end did not answer in time")
	// ErrDetached: a transaction was given up, or the device was never started.
	ErrDetached = errors.New("device is to be started first")
	// ErrNeedsReset: the device broke down, or its monitor came up without the state it had. Start
	// brings it up again.
	ErrNeedsReset = errors.New("device needs a reset")
	// ErrReset: the device or the queue was reset while the request was in flight.
	ErrReset = errors.New("the driver reset the device")
	// ErrRefused: the device refused a register's value.
	ErrRefused = errors.New("the device refused it")
	// ErrMoved: the directory was written anew since the device was found: find it again.
	ErrMoved = errors.New("the window was laid out anew")
	// ErrFeatures: the device cannot work with the features it was told.
	ErrFeatures = errors.New("the device refused the features")

	// What a device may do wrong. ErrUsedLength costs one request, the others the queue.
	ErrUsedIndex  = errors.New("used index moved by more than what is outstanding")
	ErrUsedID     = errors.New("used element names no outstanding chain")
	ErrUsedLength = errors.New("used length is more than the chain has room for")
)

// RingError is what a device did wrong on a queue.
type RingError struct {
	Queue int
	Head  int // head descriptor concerned; -1 for none
	Err   error
}

func (e *RingError) Error() string {
	if e.Head < 0 {
		return fmt.Sprintf("queue %d: %v", e.Queue, e.Err)
	}
	return fmt.Sprintf("queue %d, chain %d: %v", e.Queue, e.Head, e.Err)
}

// Unwrap returns the cause, one of the sentinels of this package.
func (e *RingError) Unwrap() error { return e.Err }
