package console

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// hostFile is an open file that can be written with or without waiting. One write at a time.
type hostFile struct {
	*os.File
	raw syscall.RawConn
	// peer says that the file has another end, which is to be there before every write.
	peer bool

	attempt func(fd uintptr) bool // made once, so that no write allocates
	p       []byte
	n       int
	err     error
	wait    bool
}

func newHostFile(f *os.File) (*hostFile, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	h := &hostFile{File: f, raw: raw}
	h.attempt = h.push
	return h, nil
}

// Write writes all of p, and waits until that is done, the deadline, or the peer is gone.
func (h *hostFile) Write(p []byte) (int, error) { return h.write(p, true) }

// TryWrite writes as much of p as there is room for at once: nothing, perhaps. A file that is
// not in non-blocking mode, such as a regular one, takes all of it.
func (h *hostFile) TryWrite(p []byte) (int, error) { return h.write(p, false) }

func (h *hostFile) write(p []byte, wait bool) (int, error) {
	h.p, h.n, h.err, h.wait = p, 0, nil, wait
	if err := h.raw.Write(h.attempt); err != nil {
		return h.n, err
	}
	return h.n, h.err
}

// push writes what fits. It reports whether that was all there is to do, as a function for
// RawConn.Write, which calls it again whenever something about the file changed.
func (h *hostFile) push(fd uintptr) (done bool) {
	for h.n < len(h.p) {
		if h.peer && hungUp(fd) {
			h.err = ErrDetached
			return true
		}
		n, err := unix.Write(int(fd), h.p[h.n:])
		switch err {
		case nil:
			h.n += n
		case unix.EINTR:
		case unix.EAGAIN:
			return !h.wait
		default:
			h.err = os.NewSyscallError("write", err)
			return true
		}
	}
	return true
}

// control makes fd available to fn while nobody closes the file.
func (h *hostFile) control(fn func(fd int) error) error {
	var result error
	if err := h.raw.Control(func(fd uintptr) { result = fn(int(fd)) }); err != nil {
		return err
	}
	return result
}

// hungUp reports whether nobody is at the other end any more.
func (h *hostFile) hungUp() (gone bool) {
	h.raw.Control(func(fd uintptr) { gone = hungUp(fd) })
	return gone
}

func hungUp(fd uintptr) bool {
	p := [1]unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(p[:], 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}
