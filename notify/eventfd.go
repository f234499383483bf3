package notify

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// NewEventfd adopts two eventfds: it waits on kick and raises call. They may be
// shared with the peer (received over a socket, say) and be blocking or not; in
// place of an eventfd, call may be anything that takes a write of eight bytes,
// as some front-ends send a pipe. Close closes both; on error they remain the
// caller's.
//
// Their O_NONBLOCK is left as it is. It belongs to the open file, so a dup does
// not help, and a peer that reads or writes its own descriptor would be changed
// under its feet. Therefore kick is never read: it sits edge-triggered in an
// epoll instance of our own, where each write to it is an event whatever its
// count, and the netpoller waits on that instance. So a peer that changes the
// mode or reads the count away cannot hold a Wait.
//
// A blocking call is looked at for room before it is written. A peer that fills
// it between the two can hold that Raise, and a Close beside it, until it drains
// it; a non-blocking call has no such gap as long as the peer leaves it so.
func NewEventfd(call, kick int) (Line, error) {
	mode, err := unix.FcntlInt(uintptr(call), unix.F_GETFL, 0)
	if err != nil {
		return nil, wrap("open", "eventfd", fmt.Errorf("call descriptor %d: %w", call, err))
	}
	edges, err := watchEdges(kick)
	if err != nil {
		return nil, wrap("open", "eventfd", fmt.Errorf("kick descriptor %d: %w", kick, err))
	}
	return &eventfd{
		waiter:   newWaiter(edges),
		call:     handle{fd: call},
		kick:     kick,
		blocking: mode&unix.O_NONBLOCK == 0,
	}, nil
}

// EventfdPair returns the two sides of a new pair of eventfds.
func EventfdPair() (host, guest Line, err error) {
	var fds []int
	for range 2 {
		fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		if err == nil {
			fds = append(fds, fd)
			fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		}
		if err != nil {
			closeAll(fds)
			return nil, nil, wrap("open", "eventfd", err)
		}
		fds = append(fds, fd)
	}
	if host, err = NewEventfd(fds[0], fds[2]); err != nil {
		closeAll(fds)
		return nil, nil, err
	}
	if guest, err = NewEventfd(fds[3], fds[1]); err != nil {
		_ = host.Close()
		closeAll([]int{fds[3], fds[1]})
		return nil, nil, err
	}
	return host, guest, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

type eventfd struct {
	*waiter
	call     handle
	kick     int
	blocking bool
	turn     sync.Mutex // between raisers of a blocking call
}

var _ Line = (*eventfd)(nil)

// ring is what a raise writes: the number one as an eventfd takes it (both our
// architectures are little-endian), and its first byte on a socket.
var ring = [8]byte{1}

func (e *eventfd) Raise() error {
	if !e.call.acquire() {
		return wrap("raise", "eventfd", ErrClosed)
	}
	defer e.call.release()
	if e.blocking {
		e.turn.Lock()
		defer e.turn.Unlock()
		if !writable(e.call.fd) {
			return nil // full: a ring is pending
		}
	}
	for {
		_, err := unix.Write(e.call.fd, ring[:])
		switch err {
		case nil, unix.EAGAIN, unix.EPIPE, unix.ECONNRESET: // rung; pending; nobody there
			return nil
		case unix.EINTR:
		default:
			return wrap("raise", "eventfd", err)
		}
	}
}

func (e *eventfd) Wait() error {
	_, err := e.wait()
	return wrap("wait", "eventfd", err)
}

func (e *eventfd) Close() error {
	if !e.shut() {
		return nil
	}
	err := e.release()
	err = errors.Join(err, unix.Close(e.kick))
	err = errors.Join(err, e.call.close(func() error { return unix.Close(e.call.fd) }))
	return wrap("close", "eventfd", err)
}
