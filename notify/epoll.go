package notify

import (
	"errors"

	"golang.org/x/sys/unix"
)

// errDrained refuses descriptors whose rings would have to be read away.
var errDrained = errors.New("a pipe or a socket, not an eventfd")

// watchEdges returns a source that reports every write to an eventfd without
// reading it. The first report covers what was written before.
func watchEdges(fd int) (*source, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	// Unread, these fill up, and a full one makes no more edges.
	if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFIFO || kind == unix.S_IFSOCK {
		return nil, errDrained
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET})
	if err == nil {
		err = unix.SetNonblock(ep, true) // ours alone; it sends os.NewFile to the netpoller
	}
	if err != nil {
		_ = unix.Close(ep)
		return nil, err
	}
	events := make([]unix.EpollEvent, 1)
	return newSource(ep, "epoll", func(s *source, ep int) bool {
		for {
			n, err := unix.EpollWait(ep, events, 0)
			if err == unix.EINTR {
				continue
			}
			s.err = err
			return err != nil || n > 0
		}
	})
}

// writable reports whether a write to fd would not block now.
func writable(fd int) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(fds[:], 0)
		if err == unix.EINTR {
			continue
		}
		return err == nil && n > 0
	}
}
