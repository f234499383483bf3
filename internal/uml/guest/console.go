package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

const consoleFile = "/dev/hvc0"

// console is somebody who logs in, resizes the window, and moves many bytes both ways at once.
var _ = job("console", func(g *guest) error {
	var args talk.ConsoleArgs
	if err := g.args(&args); err != nil {
		return err
	}
	if err := login(); err != nil {
		return err
	}
	if err := g.say("logged in", nil); err != nil {
		return err
	}
	if err := resizes(g, 2); err != nil {
		return err
	}
	f, err := openRaw(consoleFile)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := g.say("raw", nil); err != nil { // before that, what comes is sent back
		return err
	}
	bulk, err := bothWays(f, args.Bytes)
	if err != nil {
		return err
	}
	return g.say("bulk", bulk)
})

// login greets who gives a name, on a terminal as a login finds it: lines, with echo.
func login() error {
	// Opened for good: the last close of a terminal forgets its modes.
	fd, err := unix.Open(consoleFile, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", consoleFile, err)
	}
	f := os.NewFile(uintptr(fd), consoleFile)
	// What tells us that the window's size changed is sent to the terminal's session.
	if _, err := unix.Setsid(); err != nil {
		return os.NewSyscallError("setsid", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TIOCSCTTY, 0); err != nil {
		return os.NewSyscallError("TIOCSCTTY", err)
	}
	if _, err := fmt.Fprint(f, "login: "); err != nil {
		return err
	}
	name, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(f, "Welcome, ", name)
	return err
}

// resizes says the size of the window n times: as it is, and each time it changed. The kernel
// learns how it is from an interrupt, which a whole login may overtake.
func resizes(g *guest, n int) error {
	f, err := os.OpenFile(consoleFile, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	defer signal.Stop(changed)
	var said talk.Size
	for {
		w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			return os.NewSyscallError("TIOCGWINSZ", err)
		}
		if now := (talk.Size{Cols: w.Col, Rows: w.Row}); now != said {
			if err := g.say("size", now); err != nil {
				return err
			}
			said = now
			if n--; n == 0 {
				return nil
			}
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			return fmt.Errorf("the window's size stays %v", said)
		}
	}
}

// bothWays sends n bytes and receives as many, at the same time.
func bothWays(f io.ReadWriter, n int) (talk.Bulk, error) {
	begin := time.Now()
	sent := make(chan error, 1)
	go func() { sent <- talk.Copy(f, 'g', n) }()
	sum, err := talk.Sum(f, n)
	if err != nil {
		return talk.Bulk{}, err
	}
	err = <-sent
	return talk.Bulk{Sum: sum, Seconds: time.Since(begin).Seconds()}, err
}
