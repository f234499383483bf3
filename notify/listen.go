package notify

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ListenUnix listens on a stream socket at path, the monitor's end of a link:
// every byte, either way, is one ring. There is one peer at a time; a new
// connection replaces the old. For each new one Wait returns once and the peer
// is rung once, so that both sides look at what happened while they were apart.
// A peer that leaves is no error: Wait waits for the next.
//
// A socket file that a dead process left at path is taken over; one that is
// being listened on is an error wrapping EADDRINUSE, and its peer is not
// disturbed. Close removes the file.
func ListenUnix(path string) (Line, error) {
	name := "unix:" + path
	file, err := filepath.Abs(path) // Close must find it whatever the directory is then
	if err != nil {
		return nil, wrap("listen", name, err)
	}
	fd, err := bind(path)
	if err != nil {
		return nil, wrap("listen", name, err)
	}
	l := &listening{waiter: newWaiter(nil), name: name, file: file,
		closing: make(chan struct{}), accepted: make(chan struct{})}
	l.listener, err = newSource(fd, name, l.acceptOne)
	if err == nil {
		l.id, err = os.Lstat(file)
	}
	if err != nil {
		_ = os.Remove(file)
		if l.listener != nil {
			_ = l.listener.close()
		}
		return nil, wrap("listen", name, err)
	}
	go l.accept()
	return l, nil
}

type listening struct {
	*waiter
	name     string
	file     string      // absolute path of the socket
	id       fs.FileInfo // of the file we made
	listener *source
	conn     int // what acceptOne accepted
	closing  chan struct{}
	accepted chan struct{} // closed when accept has ended
}

var _ Line = (*listening)(nil)

// acceptPause is how long to leave a connection waiting that could not be
// accepted, for want of descriptors or memory.
const acceptPause = 100 * time.Millisecond

// accept exchanges connections; the rings on them do not pass through it.
func (l *listening) accept() {
	defer close(l.accepted)
	for {
		err := l.listener.wait()
		if err == nil {
			var src *source
			if src, err = newSocket(l.conn, l.name); err == nil {
				l.replace(src)
				_ = ringSocket(src)
			}
		}
		if l.closed.Load() {
			return
		}
		if err != nil {
			select {
			case <-l.closing:
			case <-time.After(acceptPause):
			}
		}
	}
}

func (l *listening) acceptOne(s *source, fd int) bool {
	for {
		conn, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case unix.EINTR, unix.ECONNABORTED:
			continue
		case unix.EAGAIN:
			return false
		}
		l.conn, s.err = conn, err
		return true
	}
}

func (l *listening) Raise() error {
	if l.closed.Load() {
		return wrap("raise", l.name, ErrClosed)
	}
	src := l.src.Load()
	if src == nil {
		return nil
	}
	return wrap("raise", l.name, ringSocket(src))
}

func (l *listening) Wait() error {
	for {
		src, err := l.wait()
		if err == nil || src == nil {
			return wrap("wait", l.name, err)
		}
		// Whatever ended the connection, the next one starts afresh.
		l.drop(src)
	}
}

func (l *listening) Close() error {
	if !l.shut() {
		return nil
	}
	// The open socket keeps its inode from being given to another file, so remove
	// before closing.
	err := l.remove()
	close(l.closing)
	err = errors.Join(err, l.listener.close())
	<-l.accepted // no connection is made current after release
	return wrap("close", l.name, errors.Join(err, l.release()))
}

// remove removes the socket file unless somebody has put another in its place.
func (l *listening) remove() error {
	now, err := os.Lstat(l.file)
	if err == nil && os.SameFile(now, l.id) {
		err = os.Remove(l.file)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
