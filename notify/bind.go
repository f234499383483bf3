package notify

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// backlog is how many front-ends may be waiting to replace one another; one more
// is refused with EAGAIN.
const backlog = 64

// bind returns a listening socket at path, in place of a dead one if there is.
func bind(path string) (int, error) {
	fd, addr, err := openSocket(path)
	if err != nil {
		return -1, err
	}
	err = unix.Bind(fd, addr)
	if err == unix.EADDRINUSE {
		err = takeOver(fd, addr)
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// takeOver removes what is at the address and binds there, if it is the socket
// of a dead process. The lock on the directory keeps two processes that start
// together from removing each other's new socket.
func takeOver(fd int, addr *unix.SockaddrUnix) error {
	dir, err := os.Open(filepath.Dir(addr.Name))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("directory is locked by another process: %w", err)
	}
	info, err := os.Lstat(addr.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unix.Bind(fd, addr)
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("file exists and is not a socket: %w", unix.EADDRINUSE)
	}
	if err := probe(addr); err != nil {
		return err
	}
	if err := os.Remove(addr.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return unix.Bind(fd, addr)
}

// probe returns nil if no process holds the socket at the address. It knocks
// with a datagram socket: a stream connection would replace the live peer of a
// monitor that is running, whereas a socket of the wrong type is refused with an
// answer of its own.
func probe(addr *unix.SockaddrUnix) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, addr); err {
	case unix.ECONNREFUSED, unix.ENOENT:
		return nil
	case nil, unix.EPROTOTYPE, unix.EPERM:
		return fmt.Errorf("another process is listening there: %w", unix.EADDRINUSE)
	default:
		return fmt.Errorf("cannot tell whether another process is listening there: %w", err)
	}
}
