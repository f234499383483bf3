package console

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

// openClient opens the other end of a pseudo terminal, which gives up after the watchdog.
func openClient(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	assert.NilError(t, err)
	t.Cleanup(func() { f.Close() })
	f.SetDeadline(time.Now().Add(watchdog))
	return f
}

func onPTY(t *testing.T) (*link, *PTY) {
	t.Helper()
	p, err := OpenPTY("")
	assert.NilError(t, err)
	return newLink(t, Options{Ports: []Port{{Endpoint: p}}}), p
}

// The terminal is raw from the start, and clients come and go.
func TestPTYClientsComeAndGo(t *testing.T) {
	l, p := onPTY(t)
	l.say("nobody reads this")
	assert.Equal(t, l.console.Stats()[0].Dropped, uint64(17))
	for range 3 {
		client := openClient(t, p.Path())
		l.say("a\n\x03\x04b\r\n") // as it is: no line editing, no signals, nothing added
		assert.Equal(t, readN(t, client, 7), "a\n\x03\x04b\r\n")
		l.types(client, "typed\r\n\x03\x04") // and this is all that comes back: no echo
		eventually(t, "the client to be seen", func() bool { return l.console.Stats()[0].Attached })
		client.Close()
		eventually(t, "the client to be seen to leave", func() bool { return !l.console.Stats()[0].Attached })
		l.say("nobody reads this")
	}
	assert.Equal(t, l.console.Stats()[0].Dropped, uint64(4*17))
}

// echo reboot >/dev/pts/…: gone before we look.
func TestPTYShortVisit(t *testing.T) {
	l, p := onPTY(t)
	for range 20 {
		client := openClient(t, p.Path())
		_, err := io.WriteString(client, "reboot\n")
		assert.NilError(t, err)
		client.Close()
		l.takes("reboot\n")
	}
}

// A client that does not read stalls the driver's output until it leaves; a reset does not
// wait for it.
func TestPTYClientDoesNotRead(t *testing.T) {
	l, p := onPTY(t)
	client := openClient(t, p.Path())
	l.offer(1, make16M(l)...)
	l.types(client, "are you alive?")
	l.stop()
	l.start()
	l.heads[1] = 0
	l.offer(1, make16M(l)...)
	l.types(client, "and now?")
	client.Close()
	l.used(1)
	assert.Check(t, l.console.Stats()[0].Dropped > 0)
}

func TestPTYLink(t *testing.T) {
	link := filepath.Join(t.TempDir(), "tty")
	assert.NilError(t, os.Symlink("/dev/pts/stale", link))
	p, err := OpenPTY(link)
	assert.NilError(t, err)
	to, err := os.Readlink(link)
	assert.NilError(t, err)
	assert.Equal(t, to, p.Path())
	assert.NilError(t, p.Close())
	_, err = os.Lstat(link)
	assert.Check(t, os.IsNotExist(err))
	_, err = p.Read(make([]byte, 1))
	assert.Check(t, err != nil)

	assert.NilError(t, os.WriteFile(link, nil, 0o600))
	_, err = OpenPTY(link)
	assert.Check(t, is.ErrorContains(err, "no symbolic link"))
	_, err = OpenPTY(filepath.Join(link, "below a file"))
	assert.Check(t, err != nil)
}

// Close ends a Read that waits for a client, and one that waits for its input.
func TestPTYCloseEndsRead(t *testing.T) {
	for _, withClient := range []bool{false, true} {
		p, err := OpenPTY("")
		assert.NilError(t, err)
		if withClient {
			openClient(t, p.Path())
		}
		ended := make(chan error)
		go func() {
			_, err := p.Read(make([]byte, 1))
			ended <- err
		}()
		if withClient {
			eventually(t, "the client to be seen", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.attached })
		}
		assert.NilError(t, p.Close())
		assert.Check(t, <-ended != nil)
	}
}
