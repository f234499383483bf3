package vhostuser

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Listen makes the socket at path that front-ends connect to, for Run. A socket that a dead
// process left there is replaced; one that is being listened on is an error wrapping EADDRINUSE.
// Closing the listener removes the file.
func Listen(path string) (*net.UnixListener, error) {
	addr := &net.UnixAddr{Name: path, Net: "unix"}
	l, err := net.ListenUnix("unix", addr)
	if errors.Is(err, unix.EADDRINUSE) && abandoned(path) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("vhostuser: %w", err)
		}
		l, err = net.ListenUnix("unix", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("vhostuser: %w", err)
	}
	return l, nil
}

// abandoned reports whether the file is a socket on which nobody listens. It knocks with a socket
// of the wrong type, which no listener notices.
func abandoned(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return false
	}
	knock, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		_ = knock.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}
