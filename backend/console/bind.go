package console

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// bind listens on a stream socket at path, in place of one whose process is dead.
func bind(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	addr := &unix.SockaddrUnix{Name: path}
	err = unix.Bind(fd, addr)
	if err == unix.EADDRINUSE {
		err = bury(path, func() error { return unix.Bind(fd, addr) })
	}
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// bury removes a dead socket at path and calls rebind. Both happen under a lock on the
// directory, since of two that start together neither must remove what the other just made.
func bury(path string, rebind func() error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("another process starts in the same directory: %w", err)
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return rebind()
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("it exists and is no socket: %w", unix.EADDRINUSE)
	}
	if !dead(path) {
		return fmt.Errorf("another process listens there: %w", unix.EADDRINUSE)
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return rebind()
}

// dead reports whether nobody holds the socket at path. It asks with a datagram socket, which
// a living listener refuses as the wrong kind: a real connection would replace its client.
func dead(path string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) == unix.ECONNREFUSED
}
