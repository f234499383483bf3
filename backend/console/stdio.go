package console

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// DefaultEscape is the key that leads out of a console on a terminal: Ctrl-].
const DefaultEscape = 0x1d

// StdioOptions says which terminal OpenStdio takes, and the way out of it.
type StdioOptions struct {
	In, Out *os.File // nil: os.Stdin and os.Stdout
	// Escape is the byte that is not passed on but calls OnEscape; 0 is DefaultEscape. It counts
	// only where In is a terminal.
	Escape byte
	// OnEscape is called from the goroutine that reads input; it must not block, nor close the
	// Endpoint. Without it no key is special, and those that send signals (Ctrl-C) keep doing so.
	OnEscape func()
}

// OpenStdio is an Endpoint on the terminal this process was started from, or whatever In and
// Out are instead. A terminal is put into raw mode until Close, except that its output is
// still processed, so that log lines on the same terminal stay readable. Its size is passed
// on, also when it changes (SIGWINCH). Neither file is closed, nor is its non-blocking mode
// touched: they may be shared with other processes.
func OpenStdio(o StdioOptions) (Endpoint, error) {
	if o.In == nil {
		o.In = os.Stdin
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Escape == 0 {
		o.Escape = DefaultEscape
	}
	s, err := openStdio(o)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	return s, nil
}

func openStdio(o StdioOptions) (*stdio, error) {
	in, err := newHostFile(o.In)
	if err != nil {
		return nil, err
	}
	// Not o.Out itself: a standard output whose reader is gone would end the process, as is right
	// for cat, but not for a monitor.
	out, err := newHostFile(o.Out)
	if err != nil {
		return nil, err
	}
	s := &stdio{opts: o, in: in, winch: make(chan os.Signal, 1), closed: make(chan struct{})}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	s.wakeR, s.wakeW = pipe[0], os.NewFile(uintptr(pipe[1]), "wake")
	if s.terminal, err = openTerminal(o.In, o.OnEscape == nil); err != nil {
		unix.Close(s.wakeR)
		s.wakeW.Close()
		return nil, err
	}
	s.Endpoint = Stream(nil, out)
	return s, nil
}

type stdio struct {
	Endpoint // a Stream: Write, SetWriteDeadline
	opts     StdioOptions
	in       *hostFile
	terminal *terminal // nil: not one
	wakeR    int       // readable when Close was called
	wakeW    *os.File
	winch    chan os.Signal
	watching sync.WaitGroup
	closed   chan struct{}
	close    sync.Once
	reading  sync.Mutex
}

var _ Sizer = (*stdio)(nil)

// Read looks before it reads: a read of a terminal cannot be called back, and would take away
// what is typed after Close.
func (s *stdio) Read(p []byte) (n int, err error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	for n == 0 && err == nil {
		err = s.in.control(func(fd int) error {
			n, err = s.look(fd, p)
			return err
		})
		if s.terminal != nil && s.opts.OnEscape != nil {
			n = s.escape(p[:n])
		}
	}
	return n, err
}

func (s *stdio) look(fd int, p []byte) (int, error) {
	select {
	case <-s.closed:
		return 0, io.EOF
	default:
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(s.wakeR), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, -1); err == unix.EINTR {
		return 0, nil
	} else if err != nil {
		return 0, os.NewSyscallError("poll", err)
	}
	if fds[1].Revents != 0 {
		return 0, io.EOF
	}
	n, err := unix.Read(fd, p)
	switch {
	case err == unix.EINTR || err == unix.EAGAIN:
		return 0, nil
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// escape takes the escape key out of p, calls OnEscape for it, and returns how much is left.
func (s *stdio) escape(p []byte) int {
	n := 0
	for {
		i := bytes.IndexByte(p[n:], s.opts.Escape)
		if i < 0 {
			return len(p)
		}
		n += i
		p = append(p[:n], p[n+1:]...)
		s.opts.OnEscape()
	}
}

// OnResize implements Sizer.
func (s *stdio) OnResize(fn func(cols, rows uint16)) {
	if s.terminal == nil {
		return
	}
	tell := func() {
		if w := s.terminal.window(); w != (window{}) {
			fn(w.cols, w.rows)
		}
	}
	signal.Notify(s.winch, unix.SIGWINCH)
	tell()
	s.watching.Go(func() {
		for {
			select {
			case <-s.winch:
				tell()
			case <-s.closed:
				return
			}
		}
	})
}

// Close ends a Read under way, and the terminal is what it was.
func (s *stdio) Close() (err error) {
	s.close.Do(func() {
		close(s.closed)
		signal.Stop(s.winch)
		s.watching.Wait()
		err = s.Endpoint.Close()
		s.wakeW.Close() // hangs up on wakeR
		s.reading.Lock()
		unix.Close(s.wakeR)
		s.reading.Unlock()
		if s.terminal != nil {
			if e := s.terminal.restore(); err == nil {
				err = e
			}
		}
	})
	return err
}
