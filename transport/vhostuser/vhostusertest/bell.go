package vhostusertest

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Notify is how kicks and calls travel.
type Notify int

// The ways of a kick and a call.
const (
	Eventfds Notify = iota
	Pipes
	InBand // messages on the two sockets
)

func (n Notify) String() string { return [...]string{"eventfd", "pipe", "in-band"}[n] }

// Bell is one direction of notification between front-end and back-end, over a descriptor.
type Bell struct {
	// Theirs is the end to send to the back-end.
	Theirs *os.File

	ours *os.File
}

// NewKick makes a Bell that the front-end rings. The back-end's end is in blocking mode, as some
// front-ends have it.
func NewKick(n Notify) (*Bell, error) {
	if n == Pipes {
		return newPipe(false)
	}
	return newEventfd(0)
}

// NewCall makes a Bell that the back-end rings. As an eventfd it is non-blocking on both sides,
// since the mode belongs to both; the back-end's end of a pipe blocks.
func NewCall(n Notify) (*Bell, error) {
	if n == Pipes {
		return newPipe(true)
	}
	return newEventfd(unix.EFD_NONBLOCK)
}

func newEventfd(mode int) (*Bell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|mode)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "eventfd")
	return &Bell{Theirs: f, ours: f}, nil
}

// newPipe makes a pipe whose end on our side can be waited for.
func newPipe(weRead bool) (*Bell, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	ours, theirs := fds[1], fds[0]
	if weRead {
		ours, theirs = fds[0], fds[1]
	}
	err := unix.SetNonblock(ours, true)
	return &Bell{Theirs: os.NewFile(uintptr(theirs), "pipe"), ours: os.NewFile(uintptr(ours), "pipe")}, err
}

// Ring rings once. A pipe that is full has rung already, and one whose reader has gone rings
// for nobody.
func (b *Bell) Ring() error {
	raw, err := b.ours.SyscallConn()
	if err != nil {
		return err
	}
	var rung error
	err = raw.Control(func(fd uintptr) { _, rung = unix.Write(int(fd), u64s(1)) })
	if rung == unix.EAGAIN || rung == unix.EPIPE {
		rung = nil
	}
	return errors.Join(err, rung)
}

// wait waits for one or more rings, or the Close.
func (b *Bell) wait() error {
	var p [512]byte
	_, err := b.ours.Read(p[:])
	return err
}

// Close closes both ends and ends a wait.
func (b *Bell) Close() error {
	err := b.ours.Close()
	if b.Theirs != b.ours {
		err = errors.Join(err, b.Theirs.Close())
	}
	return err
}
