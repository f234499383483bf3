package notify

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// DialUnix connects to the stream socket at path, where the other side listens
// ([ListenUnix]): every byte, either way, is one ring. When the peer closes the
// connection, Wait returns an error wrapping ErrPeerGone, after the rings that
// came before; Raise then does nothing.
func DialUnix(path string) (Line, error) {
	name := "unix:" + path
	fd, addr, err := openSocket(path)
	if err != nil {
		return nil, wrap("dial", name, err)
	}
	if err := unix.Connect(fd, addr); err != nil {
		_ = unix.Close(fd)
		return nil, wrap("dial", name, err)
	}
	src, err := newSocket(fd, name)
	if err != nil {
		return nil, wrap("dial", name, err)
	}
	return &dialled{waiter: newWaiter(src), name: name}, nil
}

type dialled struct {
	*waiter
	name string
}

var _ Line = (*dialled)(nil)

func (d *dialled) Raise() error {
	src := d.src.Load()
	if src == nil {
		return wrap("raise", d.name, ErrClosed)
	}
	return wrap("raise", d.name, ringSocket(src))
}

func (d *dialled) Wait() error {
	_, err := d.wait()
	if errors.Is(err, io.EOF) {
		err = ErrPeerGone
	}
	return wrap("wait", d.name, err)
}

func (d *dialled) Close() error {
	if !d.shut() {
		return nil
	}
	return wrap("close", d.name, d.release())
}
