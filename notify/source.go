package notify

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// source is a descriptor of our own that one goroutine waits for in the
// netpoller. os.File and its RawConn rather than package net, because the errors
// of these come back bare: a wait ended by Wake allocates nothing.
type source struct {
	handle
	file *os.File
	raw  syscall.RawConn
	// look does the non-blocking call that consumes what is pending, and reports
	// whether the wait is over; it leaves a failure in err. It is made once, so
	// that waiting allocates no closure.
	look func(fd uintptr) bool
	err  error
}

// newSource takes over fd, which must be non-blocking; on error it has closed it.
func newSource(fd int, name string, look func(s *source, fd int) bool) (*source, error) {
	s := &source{handle: handle{fd: fd}, file: os.NewFile(uintptr(fd), name)}
	s.look = func(fd uintptr) bool { return look(s, int(fd)) }
	raw, err := s.file.SyscallConn()
	if err == nil {
		s.raw = raw
		// os.NewFile hides that the netpoller refused a descriptor (out of
		// watches, say): then a deadline is refused too, and no Wake would work.
		err = s.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = s.file.Close()
		return nil, fmt.Errorf("the descriptor cannot be waited for: %w", err)
	}
	return s, nil
}

// wait returns when look says so, with what it left in err; or with
// os.ErrDeadlineExceeded after interrupt, or another error after close.
func (s *source) wait() error {
	s.err = nil
	if err := s.raw.Read(s.look); err != nil {
		return err
	}
	return s.err
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// interrupt ends the pending wait and all later ones until resume.
func (s *source) interrupt() { _ = s.file.SetReadDeadline(past) }

// resume undoes interrupt. Only the waiting goroutine may call it: see waiter.
func (s *source) resume() { _ = s.file.SetReadDeadline(time.Time{}) }

// close ends the pending wait and gives the descriptor back.
func (s *source) close() error { return s.handle.close(s.file.Close) }
