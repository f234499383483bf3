package notify

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// ringSocket sends the one byte that is a ring. MSG_NOSIGNAL: a program that
// listens to SIGPIPE need not hear of a front-end that went away.
func ringSocket(s *source) error {
	if !s.acquire() {
		return nil // replaced meanwhile: nobody to wake there
	}
	defer s.release()
	for {
		switch err := unix.Send(s.fd, ring[:1], unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err {
		case nil, unix.EAGAIN: // rung; pending
			return nil
		case unix.EPIPE, unix.ECONNRESET:
			// The peer is gone. The descriptor is left to the waiting goroutine: the
			// peer's last ring may still be in it.
			return nil
		case unix.EINTR:
		default:
			return err
		}
	}
}

// pendingRings is how many rings one read consumes: more than the default
// buffer of a Linux socket holds when each byte was sent for itself.
const pendingRings = 512

// newSocket takes over a connected, non-blocking stream socket; on error it has
// closed it. Its wait ends with io.EOF when the peer is gone.
func newSocket(fd int, name string) (*source, error) {
	// The smallest buffer the kernel grants still holds a ring. With a larger one
	// a peer that is slow to look would find hundreds of pending rings to read.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	buf := make([]byte, pendingRings)
	return newSource(fd, name, func(s *source, fd int) bool {
		for {
			n, err := unix.Read(fd, buf)
			switch {
			case err == unix.EINTR:
				continue
			case err == unix.EAGAIN:
				return false
			case n == 0 && err == nil, err == unix.ECONNRESET:
				s.err = io.EOF
			default:
				s.err = err
			}
			return true
		}
	})
}

// maxPath is the room for a path in a Linux socket address, without the zero.
const maxPath = len(unix.RawSockaddrUnix{}.Path) - 1

// openSocket returns an unconnected stream socket and the address of path.
func openSocket(path string) (int, *unix.SockaddrUnix, error) {
	switch {
	case path == "":
		return -1, nil, errors.New("empty path")
	case strings.ContainsRune(path, 0):
		return -1, nil, errors.New("zero byte in path")
	case strings.HasPrefix(path, "@"):
		path = "./" + path // a file like any other, not an abstract name
	}
	if len(path) > maxPath {
		return -1, nil, fmt.Errorf("path of %d bytes, a socket takes %d", len(path), maxPath)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	return fd, &unix.SockaddrUnix{Name: path}, err
}
