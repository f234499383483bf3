package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

// host is somebody at the host's end of a console.
type host interface {
	io.ReadWriter
	SetReadDeadline(time.Time) error
}

// conversation has a front-end and the host's end say something to each other.
func (r *room) conversation(h host) {
	r.tb.Helper()
	f := r.twin("v2025.04", "print", "from the front-end", "expect", "from the host")
	r.reads(h, "from the front-end")
	_, err := h.Write([]byte("from the host"))
	assert.NilError(r.tb, err)
	f.ends(twinDone)
}

func (r *room) reads(h host, want string) {
	r.tb.Helper()
	b := make([]byte, len(want))
	assert.NilError(r.tb, h.SetReadDeadline(time.Now().Add(watchdog)))
	n, err := io.ReadFull(h, b)
	assert.NilError(r.tb, err)
	assert.Equal(r.tb, string(b[:n]), want)
}

func TestConsoleOnUnixSocket(t *testing.T) {
	r := newRoom(t)
	m := r.monitor("-device", "console,unix="+r.path("console"))
	conn, err := net.Dial("unix", r.path("console"))
	assert.NilError(t, err)
	defer conn.Close()
	r.conversation(conn)
	m.stop()
}

func TestConsoleOnPseudoTerminal(t *testing.T) {
	r := newRoom(t)
	m := r.monitor("-device", "console,pty="+r.path("link"))
	path, err := os.Readlink(r.path("link"))
	assert.NilError(t, err)
	assert.Check(t, is.Contains(m.log.String(), path), "the log says where it is")
	terminal, err := os.OpenFile(r.path("link"), os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	assert.NilError(t, err)
	defer terminal.Close()
	r.conversation(terminal)
	m.stop()
	assert.Check(t, gone(r.path("link")))
}

func TestConsoleOnStandardStreams(t *testing.T) {
	r := newRoom(t)
	cmd := child("pmm", r.args("-device", "console,stdio")...)
	in, err := cmd.StdinPipe()
	assert.NilError(t, err)
	m := start(t, cmd)
	m.log.await(t, "msg=ready", 1)
	// Ctrl-] is a byte as any other where no terminal is.
	_, err = io.WriteString(in, "from the \x1dhost")
	assert.NilError(t, err)
	r.twin("virtio-exp", "print", "from the front-end\n", "expect", "from the \x1dhost").ends(twinDone)
	m.out.await(t, "from the front-end", 1)
	m.stop()
}

// newTerminal is a terminal as a person has one, and its other end.
func newTerminal(t *testing.T) (terminal, person *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	assert.NilError(t, err)
	t.Cleanup(func() { person.Close() })
	conn, err := person.SyscallConn()
	assert.NilError(t, err)
	var n int
	assert.NilError(t, conn.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}))
	assert.NilError(t, err)
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	assert.NilError(t, err)
	t.Cleanup(func() { terminal.Close() })
	return terminal, person
}

// The escape key ends the monitor, whether there is a front-end or not, and leaves the terminal
// as it was.
func TestConsoleOnTerminal(t *testing.T) {
	for _, tt := range []struct {
		option, key string
		live        bool
	}{
		{"", "\x1d", true},
		{"", "\x1d", false},
		{",escape=^A", "\x01", true},
		{",escape=^A", "\x01", false},
	} {
		t.Run(fmt.Sprintf("%q, front-end %v", tt.option, tt.live), func(t *testing.T) {
			r := newRoom(t)
			terminal, person := newTerminal(t)
			before, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
			assert.NilError(t, err)
			cmd := child("pmm", r.args("-device", "console,stdio"+tt.option)...)
			cmd.Stdin = terminal
			m := startWith(t, cmd, terminal)
			m.log.await(t, "msg=ready", 1)
			if tt.live {
				r.conversation(person)
			}
			_, err = person.Write([]byte(tt.key))
			assert.NilError(t, err)
			m.ends(0)
			after, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
			assert.NilError(t, err)
			assert.DeepEqual(t, before, after)
		})
	}
}
