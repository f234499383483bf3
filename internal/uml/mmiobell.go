package uml

import (
	"os"
	"sync"
	"syscall"

	"github.com/hypervisorless/virtio/notify"
	"golang.org/x/sys/unix"
)

// bell is a doorbell on a socket that was handed over: every byte, either way, is one ring.
type bell struct {
	file  *os.File
	raw   syscall.RawConn
	rung  chan struct{} // a token
	gone  chan struct{} // closed when the kernel's end is
	shut  chan struct{} // closed by Close
	close sync.Once
}

var _ notify.Line = (*bell)(nil)

// newBell takes a file of its own of the socket.
func newBell(socket *os.File) (*bell, error) {
	fd, err := unix.FcntlInt(socket.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // Close ends a Read
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	b := &bell{file: os.NewFile(uintptr(fd), "doorbell"), rung: make(chan struct{}, 1), gone: make(chan struct{}), shut: make(chan struct{})}
	if b.raw, err = b.file.SyscallConn(); err != nil {
		b.file.Close()
		return nil, err
	}
	go b.listen()
	return b, nil
}

func (b *bell) listen() {
	defer close(b.gone)
	var rings [512]byte
	for {
		if _, err := b.file.Read(rings[:]); err != nil {
			return
		}
		b.Wake()
	}
}

var ring = []byte{1}

func (b *bell) Raise() error {
	if err := b.raw.Write(send); err != nil {
		return &notify.Error{Op: "raise", Line: "bell", Err: notify.ErrClosed}
	}
	return nil
}

// send rings once. What goes wrong is that the socket is full, so rung already, or that nobody
// is there, who then looks at everything when he comes.
func send(fd uintptr) (done bool) {
	for unix.Send(int(fd), ring, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) == unix.EINTR {
	}
	return true
}

func (b *bell) Wait() error {
	var err error
	select {
	case <-b.rung:
	case <-b.gone:
		err = &notify.Error{Op: "wait", Line: "bell", Err: notify.ErrPeerGone}
	case <-b.shut:
	}
	select {
	case <-b.shut: // whatever else there is
		return &notify.Error{Op: "wait", Line: "bell", Err: notify.ErrClosed}
	default:
		return err
	}
}

func (b *bell) Wake() {
	select {
	case b.rung <- struct{}{}:
	default:
	}
}

func (b *bell) Close() (err error) {
	b.close.Do(func() {
		close(b.shut)
		err = b.file.Close()
		<-b.gone
	})
	return err
}
