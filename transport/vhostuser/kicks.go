package vhostuser

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// kicks waits for the front-end's signals on all queues. An eventfd sits edge-triggered in an
// epoll instance and is never read: each write to it is an event, whatever its count. Pipes and
// sockets fill up, so they are drained. The instance is ours alone, so that it can be
// non-blocking, and Go's netpoller waits on it.
type kicks struct {
	file   *os.File
	raw    syscall.RawConn
	ep     int
	events [16]unix.EpollEvent
	look   func(uintptr) bool
	ready  []unix.EpollEvent
	err    error
	sink   *sink

	mu  sync.Mutex // an entry does not go while it is drained
	fds map[int32]kick
}

// kick is one descriptor that is waited on.
type kick struct {
	fd   int
	kind fdKind
}

// backChannel is the key of the back-end channel among the queues'.
const backChannel = -1

func newKicks() (*kicks, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(ep, true); err != nil {
		_ = unix.Close(ep)
		return nil, err
	}
	k := &kicks{ep: ep, file: os.NewFile(uintptr(ep), "epoll"), sink: newSink(), fds: make(map[int32]kick)}
	k.look = k.poll
	if k.raw, err = k.file.SyscallConn(); err == nil {
		// A deadline is refused if the netpoller did not take the instance.
		err = k.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = k.file.Close()
		return nil, fmt.Errorf("signals cannot be waited for: %w", err)
	}
	return k, nil
}

// poll looks for events without waiting, and reports whether the wait is over.
func (k *kicks) poll(uintptr) bool {
	for {
		n, err := unix.EpollWait(k.ep, k.events[:], 0)
		if err == unix.EINTR {
			continue
		}
		k.ready, k.err = k.events[:max(n, 0)], err
		return err != nil || n > 0
	}
}

// wait waits for signals and drains what has to be. kicked is whether a queue was signalled,
// answered whether something came on the back-end channel. It ends with an error after close.
func (k *kicks) wait() (kicked, answered bool, err error) {
	if err := k.raw.Read(k.look); err != nil {
		return false, false, err
	}
	if k.err != nil {
		return false, false, k.err
	}
	for i := range k.ready {
		e := &k.ready[i]
		if e.Fd == backChannel {
			answered = true
		} else {
			kicked = true
		}
		if fdKind(e.Pad) != eventfd {
			k.drain(e.Fd)
		}
	}
	return kicked, answered, nil
}

// drain empties a pipe or socket a little; what is left is another event. A closed one would be
// one for ever, so it is waited on no more.
func (k *kicks) drain(key int32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d, ok := k.fds[key]
	if !ok || d.kind == eventfd {
		return // replaced meanwhile
	}
	if _, open := k.sink.drain(d.fd, d.kind); !open {
		_ = unix.EpollCtl(k.ep, unix.EPOLL_CTL_DEL, d.fd, nil)
	}
}

// watch takes over a descriptor for a queue and waits on it from now on, instead of the one
// before. What was signalled already is an event. With an error the descriptor is the caller's.
func (k *kicks) watch(key int32, fd int, kind fdKind) error {
	k.drop(key)
	events := uint32(unix.EPOLLIN)
	if kind == eventfd {
		events |= unix.EPOLLET
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	err := unix.EpollCtl(k.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: key, Pad: int32(kind)})
	if err != nil {
		return err
	}
	k.fds[key] = kick{fd, kind}
	return nil
}

// drop closes a descriptor. The front-end has the same file open, so closing alone would leave
// it in the instance.
func (k *kicks) drop(key int32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d, ok := k.fds[key]; ok {
		_ = unix.EpollCtl(k.ep, unix.EPOLL_CTL_DEL, d.fd, nil)
		_ = unix.Close(d.fd)
		delete(k.fds, key)
	}
}

// close ends a wait; nobody waits again.
func (k *kicks) close() { _ = k.file.Close() }

// closeAll closes the descriptors, once nobody waits.
func (k *kicks) closeAll() {
	for _, d := range k.fds {
		_ = unix.Close(d.fd)
	}
	clear(k.fds)
}
