package vhostuser

import (
	"errors"

	"golang.org/x/sys/unix"
)

// one is what is written to signal: the number one as an eventfd takes it. A pipe gets the
// memory itself, not a copy, so it never changes.
var one = [8]byte{1}

// oneVec is the same as a vector.
var oneVec = vec(one[:])

func vec(p []byte) []unix.Iovec {
	v := []unix.Iovec{{Base: &p[0]}}
	v[0].SetLen(len(p))
	return v
}

// sendVec writes a few bytes to a pipe or socket without blocking: all of them or none.
func sendVec(fd int, kind fdKind, v []unix.Iovec, p []byte) error {
	for {
		var err error
		if kind == pipe {
			_, err = unix.Vmsplice(fd, v, unix.SPLICE_F_NONBLOCK)
		} else {
			err = unix.Sendto(fd, p, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		}
		if err != unix.EINTR {
			return err
		}
	}
}

// signalFD signals. It has no error worth to be known: what is full has been signalled already,
// and what cannot be written to is the front-end's loss.
func signalFD(fd int, kind fdKind) {
	if kind != eventfd {
		_ = sendVec(fd, kind, oneVec, one[:])
		return
	}
	for {
		if _, err := unix.Write(fd, one[:]); err != unix.EINTR {
			return
		}
	}
}

// relieve takes the count out of an eventfd that was filled to the brim, so that whoever is
// blocked in a write to it goes on. One with room holds nobody, and its count is a signal that
// the front-end has yet to see.
func relieve(fd int) {
	room := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(room, 0); err != nil || n > 0 {
		return
	}
	var b [8]byte
	_, _ = unix.Preadv2(fd, [][]byte{b[:]}, -1, unix.RWF_NOWAIT)
}

// sink is where drained bytes go.
type sink struct {
	buf [1024]byte
	vec []unix.Iovec
}

func newSink() *sink {
	s := new(sink)
	s.vec = vec(s.buf[:])
	return s
}

// drain reads some of what a pipe or socket holds, without blocking. It returns the number of
// bytes, and open is false once nothing can come any more.
func (s *sink) drain(fd int, kind fdKind) (n int, open bool) {
	var err error
	if kind == pipe {
		n, err = unix.Vmsplice(fd, s.vec, unix.SPLICE_F_NONBLOCK)
	} else {
		n, _, err = unix.Recvfrom(fd, s.buf[:], unix.MSG_DONTWAIT)
	}
	if err != nil {
		return 0, errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
	}
	return n, n > 0
}
