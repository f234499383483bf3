package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const hostCID = unix.VMADDR_CID_HOST

// socket is a connected socket of the family AF_VSOCK, which blocks.
type socket int

// dial connects to a port of the host's.
func dial(kind int, port uint32) (socket, error) {
	// Not one that blocks: a signal, of which the Go runtime has many, would end it, and the host
	// would see one connection more.
	fd, err := unix.Socket(unix.AF_VSOCK, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	s := socket(fd)
	err = unix.Connect(fd, &unix.SockaddrVM{CID: hostCID, Port: port})
	if err == unix.EINPROGRESS {
		err = s.outcome(unix.POLLOUT)
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		s.Close()
		return -1, os.NewSyscallError("connect", err)
	}
	return s, nil
}

// outcome waits for something, or for the end, and returns the error if it was one.
func (s socket) outcome(events int16) error {
	poll := []unix.PollFd{{Fd: int32(s), Events: events}}
	for {
		if _, err := unix.Poll(poll, -1); err == nil {
			break
		} else if err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
	}
	n, err := unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if n != 0 {
		return unix.Errno(n)
	}
	return nil
}

// listen serves the connections to a port, each with a goroutine.
func listen(kind int, port uint32, serve func(socket)) error {
	fd, err := unix.Socket(unix.AF_VSOCK, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port}); err != nil {
		return fmt.Errorf("port %d: %w", port, os.NewSyscallError("bind", err))
	}
	if err := unix.Listen(fd, 128); err != nil {
		return fmt.Errorf("port %d: %w", port, os.NewSyscallError("listen", err))
	}
	go func() {
		for {
			n, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			switch err {
			case nil:
				go serve(socket(n))
			case unix.EINTR:
			default:
				fmt.Println("guest: accept:", err)
				return
			}
		}
	}()
	return nil
}

func (s socket) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(s), p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (s socket) Write(p []byte) (n int, err error) {
	for n < len(p) {
		k, err := unix.Write(int(s), p[n:])
		switch err {
		case nil:
			n += k
		case unix.EINTR:
		default:
			return n, os.NewSyscallError("write", err)
		}
	}
	return n, nil
}

func (s socket) CloseWrite() error {
	return os.NewSyscallError("shutdown", unix.Shutdown(int(s), unix.SHUT_WR))
}

func (s socket) Close() error { return unix.Close(int(s)) }

// echoMessages sends messages back as they are, ends of records included.
func (s socket) echoMessages() error {
	p := make([]byte, 128<<10)
	for {
		n, _, flags, _, err := unix.Recvmsg(int(s), p, nil, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("recvmsg", err)
		case n == 0:
			return s.CloseWrite()
		}
		if _, err := unix.SendmsgN(int(s), p[:n], nil, nil, flags&unix.MSG_EOR); err != nil {
			return os.NewSyscallError("sendmsg", err)
		}
	}
}
