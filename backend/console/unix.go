package console

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ListenUnix is an Endpoint that listens on a stream socket at path. One client is attached
// at a time; a new one replaces it at once, so that a forgotten session locks nobody out. What
// a client typed and then hung up is still read, before what the next one types. A client that
// shuts down its writing half (echo … | socat - UNIX:…) goes on to receive output until it
// hangs up. Without a client, output is dropped.
//
// A socket that a dead process left at path is taken over; one that is being listened on is an
// error wrapping EADDRINUSE. Close removes it.
func ListenUnix(path string) (Endpoint, error) {
	e, err := listenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("console: listen on %s: %w", path, err)
	}
	return e, nil
}

func listenUnix(path string) (Endpoint, error) {
	abs, err := filepath.Abs(path) // Close must find it whatever the directory is then
	if err != nil {
		return nil, err
	}
	f, err := bind(path)
	if err != nil {
		return nil, err
	}
	u := &unixSocket{path: abs, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	u.listener, err = newHostFile(f)
	if err == nil {
		u.id, err = os.Lstat(abs)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	u.knock = func(fd uintptr) { u.welcome(fd) }
	go u.accept()
	return u, nil
}

type unixSocket struct {
	path     string
	id       fs.FileInfo // of the socket we made
	listener *hostFile
	knock    func(fd uintptr)
	wake     chan struct{} // token: there is a client
	closed   chan struct{}

	mu       sync.Mutex
	client   *hostFile   // who is attached; nil: nobody
	typists  []*hostFile // who is to be read, in order: some that hung up, and the client
	deadline time.Time
	onAttach func(bool)
	gone     bool // Close was called
}

var (
	_ Attacher  = (*unixSocket)(nil)
	_ tryWriter = (*unixSocket)(nil)
)

// acceptPause is how long a client waits that could not be accepted for want of descriptors.
const acceptPause = 100 * time.Millisecond

func (u *unixSocket) accept() {
	for {
		u.listener.raw.Read(u.welcome)
		select {
		case <-u.closed:
			return
		case <-time.After(acceptPause):
		}
	}
}

// welcome lets in all who are at the door; the last of them stays. It reports whether that
// failed, as a function for RawConn.Read, which calls it for every new one until it does.
func (u *unixSocket) welcome(fd uintptr) (failed bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		conn, _, err := unix.Accept4(int(fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			u.replace(os.NewFile(uintptr(conn), u.path))
		case unix.EINTR, unix.ECONNABORTED:
		case unix.EAGAIN:
			return false
		default:
			return true
		}
	}
}

// maxTypists bounds how many clients that hung up wait to be read.
const maxTypists = 16

// replace makes f the client. Callers hold mu.
func (u *unixSocket) replace(f *os.File) {
	client, err := newHostFile(f)
	if err != nil || u.gone {
		f.Close()
		return
	}
	if old := u.client; old != nil {
		u.retire()
		if !old.hungUp() {
			u.forget(old)
		}
	}
	if len(u.typists) == maxTypists {
		u.forget(u.typists[0])
	}
	client.SetWriteDeadline(u.deadline)
	u.client = client
	u.typists = append(u.typists, client)
	if u.onAttach != nil {
		u.onAttach(true)
	}
	poke(u.wake)
}

// retire is the end of the client as one that is shown output. Callers hold mu.
func (u *unixSocket) retire() {
	u.client = nil
	if u.onAttach != nil {
		u.onAttach(false)
	}
}

// forget is the end of a client as one that is read. Callers hold mu.
func (u *unixSocket) forget(client *hostFile) {
	u.typists = slices.DeleteFunc(u.typists, func(c *hostFile) bool { return c == client })
	client.Close()
}

// mute is what to do when a client cannot be shown output any more.
func (u *unixSocket) mute(client *hostFile) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.client == client {
		u.retire()
	}
}

// leave is what to do when a client hung up and everything it typed was read.
func (u *unixSocket) leave(client *hostFile) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.client == client {
		u.retire()
	}
	u.forget(client)
}

func (u *unixSocket) OnAttach(fn func(bool)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.onAttach = fn
	if u.client != nil {
		fn(true)
	}
}

func (u *unixSocket) current() *hostFile {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.client
}

func (u *unixSocket) typist() *hostFile {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.typists) == 0 {
		return nil
	}
	return u.typists[0]
}

func (u *unixSocket) Read(p []byte) (int, error) {
	for {
		client := u.typist()
		if client == nil {
			select {
			case <-u.wake:
				continue
			case <-u.closed:
				return 0, io.EOF
			}
		}
		n, err := client.Read(p)
		if n > 0 {
			return n, nil
		}
		if errors.Is(err, io.EOF) {
			client.raw.Read(hungUp) // it may still watch
		}
		u.leave(client)
	}
}

func (u *unixSocket) Write(p []byte) (int, error) { return u.write(p, (*hostFile).Write) }

// TryWrite writes what the client has room for.
func (u *unixSocket) TryWrite(p []byte) (int, error) { return u.write(p, (*hostFile).TryWrite) }

func (u *unixSocket) write(p []byte, write func(*hostFile, []byte) (int, error)) (n int, err error) {
	for {
		client := u.current()
		if client == nil {
			// Whoever connected before the driver wrote is to see it, accepted or not.
			u.listener.raw.Control(u.knock)
			if client = u.current(); client == nil {
				return n, ErrDetached
			}
		}
		k, err := write(client, p[n:])
		n += k
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		u.mute(client) // it hung up or was replaced; the rest is for the next
	}
}

func (u *unixSocket) SetWriteDeadline(t time.Time) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.deadline = t
	if u.client == nil {
		return nil
	}
	return u.client.SetWriteDeadline(t)
}

func (u *unixSocket) Close() error {
	if !u.shut() {
		return net.ErrClosed
	}
	// The open listener keeps its inode from being given to another file, so remove first. It
	// is not closed under mu, since that waits for a welcome under way.
	err := remove(u.path, u.id)
	return errors.Join(err, u.listener.Close())
}

// shut lets nobody in any more. It reports whether it was the first to do so.
func (u *unixSocket) shut() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gone {
		return false
	}
	u.gone = true
	close(u.closed)
	if u.client != nil {
		u.retire()
	}
	for len(u.typists) > 0 {
		u.forget(u.typists[0])
	}
	return true
}

// remove removes the file at path unless it is another one by now.
func remove(path string, id fs.FileInfo) error {
	now, err := os.Lstat(path)
	if err == nil && os.SameFile(now, id) {
		err = os.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
