package console

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/vring/vringtest"
)

// make16M is a chain of 16 MiB of whatever is in the driver's memory.
func make16M(l *link) []vringtest.Desc {
	d := make([]vringtest.Desc, 16)
	for i := range d {
		d[i] = vringtest.Readable(0x4000_0000, 1<<20)
	}
	return d
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for range 2 {
		e, err := OpenFile(path)
		assert.NilError(t, err)
		l := newLink(t, Options{Ports: []Port{{Endpoint: e}}})
		l.say("one\n")
		l.stop()
		l.start()
		l.say("two\n")
		assert.NilError(t, l.console.Close())
	}
	got, err := os.ReadFile(path)
	assert.NilError(t, err)
	assert.Equal(t, string(got), "one\ntwo\none\ntwo\n")
	info, err := os.Stat(path)
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), os.FileMode(0o600))

	_, err = OpenFile(filepath.Join(path, "below a file"))
	assert.Check(t, is.ErrorIs(err, unix.ENOTDIR))
}

// A full disk is logged and counted, and the driver goes on.
func TestFileFull(t *testing.T) {
	e, err := OpenFile("/dev/full")
	assert.NilError(t, err)
	l := newLink(t, Options{Ports: []Port{{Endpoint: e}}})
	l.say("one\n")
	l.say("two\n")
	assert.Equal(t, l.console.Stats()[0].Dropped, uint64(8))
	assert.Equal(t, strings.Count(l.log.String(), "no space left"), 1)
}

// A FIFO behaves like any other host that may not read.
func TestFileFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	assert.NilError(t, unix.Mkfifo(path, 0o600))
	reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	assert.NilError(t, err)
	defer reader.Close()
	e, err := OpenFile(path)
	assert.NilError(t, err)
	l := newLink(t, Options{Ports: []Port{{Endpoint: e}}})
	l.offer(1, make16M(l)...)
	readN(t, reader, 1<<20)
	l.stop()
}

func TestStream(t *testing.T) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	l := newLink(t, Options{Ports: []Port{{Endpoint: Stream(inR, outW)}}})
	l.types(inW, "typed")
	l.send(1, "printed", 64)
	assert.Equal(t, readN(t, outR, 7), "printed")
	l.used(1)

	// A writer that blocks, with no way to interrupt it, does not keep a reset waiting.
	l.offer(1, make16M(l)...)
	readN(t, outR, 1<<20)
	l.stop()
	l.start()
	// The last bytes of the former life are on their way; then comes the next one.
	l.send(1, "next life", 64)
	var tail string
	for !strings.HasSuffix(tail, "next life") {
		tail += readN(t, outR, 1)
	}
	l.used(1)

	outR.CloseWithError(errors.New("printer on fire"))
	for range 3 {
		l.say("lost")
	}
	assert.Check(t, l.console.Stats()[0].Dropped >= 8)
	assert.Check(t, is.Contains(l.log.String(), "printer on fire"))
}

// Close waits for what is on its way to the writer.
func TestStreamCloseIsPatient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var got strings.Builder
		slow := writeFunc(func(p []byte) (int, error) {
			time.Sleep(farewell / 2) // of the bubble
			return got.Write(p)
		})
		e := Stream(nil, slow)
		_, err := io.WriteString(e, "last words")
		assert.NilError(t, err)
		assert.NilError(t, e.Close())
		assert.Equal(t, got.String(), "last words")

		// But not for ever.
		forever := make(chan struct{})
		e = Stream(nil, writeFunc(func(p []byte) (int, error) { <-forever; return len(p), nil }))
		io.WriteString(e, "x")
		assert.NilError(t, e.Close())
		close(forever)
	})
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

// terminals is a pseudo terminal: the screen and keyboard, and the file a process would have.
func terminals(t *testing.T) (screen *PTY, tty *os.File) {
	t.Helper()
	screen, err := OpenPTY("")
	assert.NilError(t, err)
	tty, err = os.OpenFile(screen.Path(), os.O_RDWR|unix.O_NOCTTY, 0)
	assert.NilError(t, err)
	t.Cleanup(func() { tty.Close(); screen.Close() })
	// As a login would leave it, not as our console would.
	setMode(t, tty, func(m *unix.Termios) {
		m.Iflag |= unix.ICRNL | unix.IXON
		m.Oflag |= unix.OPOST | unix.ONLCR
		m.Lflag |= unix.ICANON | unix.ECHO | unix.ISIG | unix.IEXTEN
	})
	return screen, tty
}

func mode(t *testing.T, f *os.File) (m unix.Termios) {
	t.Helper()
	h, err := newHostFile(f)
	assert.NilError(t, err)
	assert.NilError(t, h.control(func(fd int) error {
		now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			m = *now
		}
		return err
	}))
	return m
}

func setMode(t *testing.T, f *os.File, change func(*unix.Termios)) {
	t.Helper()
	m := mode(t, f)
	change(&m)
	h, err := newHostFile(f)
	assert.NilError(t, err)
	assert.NilError(t, h.control(func(fd int) error { return unix.IoctlSetTermios(fd, unix.TCSETS, &m) }))
}

func TestStdioTerminal(t *testing.T) {
	screen, tty := terminals(t)
	before := mode(t, tty)
	escaped := make(chan struct{}, 10)
	e, err := OpenStdio(StdioOptions{In: tty, Out: tty, OnEscape: func() { escaped <- struct{}{} }})
	assert.NilError(t, err)
	l := newLink(t, Options{Ports: []Port{{Endpoint: e}}})

	// Keys come through as they are, all but the escape key.
	l.types(screen, "ls\r\x03\x04\x11")
	screen.Write([]byte("a\x1db\x1d\x1dc\x1d"))
	l.takes("abc")
	for range 4 {
		<-escaped
	}
	assert.Equal(t, len(escaped), 0)

	// Output keeps its processing, so that the log beside it stays readable.
	l.say("up\n")
	assert.Equal(t, readN(t, screen.master, 4), "up\r\n")

	assert.NilError(t, l.console.Close())
	assert.DeepEqual(t, mode(t, tty), before)
	// What is typed now is for somebody else.
	screen.Write([]byte("exit\n"))
	assert.Equal(t, readN(t, tty, 5), "exit\n")
}

func TestStdioOtherEscape(t *testing.T) {
	screen, tty := terminals(t)
	escaped := make(chan struct{}, 1)
	e, err := OpenStdio(StdioOptions{In: tty, Out: tty, Escape: 1, OnEscape: func() { escaped <- struct{}{} }})
	assert.NilError(t, err)
	l := newLink(t, Options{Ports: []Port{{Endpoint: e}}})
	screen.Write([]byte("\x01\x1dx"))
	l.takes("\x1dx")
	<-escaped
}

// Without a way out, the terminal's own keys still are one.
func TestStdioWithoutEscape(t *testing.T) {
	screen, tty := terminals(t)
	e, err := OpenStdio(StdioOptions{In: tty, Out: tty})
	assert.NilError(t, err)
	assert.Check(t, mode(t, tty).Lflag&unix.ISIG != 0)
	assert.Check(t, mode(t, tty).Lflag&(unix.ICANON|unix.ECHO) == 0)
	l := newLink(t, Options{Ports: []Port{{Endpoint: e}}})
	l.types(screen, "\x1d")
}

func TestStdioWindow(t *testing.T) {
	_, tty := terminals(t)
	resize := func(cols, rows uint16) {
		h, err := newHostFile(tty)
		assert.NilError(t, err)
		assert.NilError(t, h.control(func(fd int) error {
			return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows})
		}))
	}
	resize(120, 30)
	e, err := OpenStdio(StdioOptions{In: tty, Out: tty})
	assert.NilError(t, err)
	l := newLink(t, Options{Ports: []Port{{Endpoint: e}}}, FeatureSize)
	size := func() [4]byte {
		var b [4]byte
		l.dev.ReadConfig(b[:], 0)
		return b
	}
	assert.Equal(t, size(), [4]byte{120, 0, 30, 0})
	l.until("the driver to be told", func() bool { return l.configs.Load() == 1 })
	before := l.dev.Generation()
	resize(132, 43)
	// A terminal sends this to the processes in its foreground; we are none of them.
	assert.NilError(t, unix.Kill(os.Getpid(), unix.SIGWINCH))
	l.until("the driver to be told", func() bool { return l.dev.Generation() != before })
	assert.Equal(t, size(), [4]byte{132, 0, 43, 0})
}

// Files and pipes are nothing special: no escape key, and the end is the end.
func TestStdioPipe(t *testing.T) {
	inR, inW, err := os.Pipe()
	assert.NilError(t, err)
	outR, outW, err := os.Pipe()
	assert.NilError(t, err)
	for _, f := range []*os.File{inR, inW, outR, outW} {
		defer f.Close()
	}
	e, err := OpenStdio(StdioOptions{In: inR, Out: outW, OnEscape: func() { t.Error("escape from a pipe") }})
	assert.NilError(t, err)
	l := newLink(t, Options{Ports: []Port{{Endpoint: e}}})
	l.types(inW, "binary \x1d data")
	l.say("out")
	assert.Equal(t, readN(t, outR, 3), "out")
	inW.Close()
	l.say("still here")
	assert.Equal(t, readN(t, outR, 10), "still here")
	assert.NilError(t, l.console.Close())
	_, err = inR.Stat()
	assert.NilError(t, err, "not ours to close")
}

// Close ends a Read of a terminal that nobody types on.
func TestStdioCloseEndsRead(t *testing.T) {
	_, tty := terminals(t)
	e, err := OpenStdio(StdioOptions{In: tty, Out: tty})
	assert.NilError(t, err)
	ended := make(chan error)
	go func() {
		_, err := e.Read(make([]byte, 1))
		ended <- err
	}()
	assert.NilError(t, e.Close())
	assert.Check(t, is.ErrorIs(<-ended, io.EOF))
	assert.NilError(t, e.Close())
}

// A standard output whose reader is gone costs the output, not the process.
func TestStdioBrokenPipe(t *testing.T) {
	if os.Getenv("CONSOLE_TEST_CHILD") != "" {
		e, err := OpenStdio(StdioOptions{})
		for err == nil {
			_, err = io.WriteString(e, "x")
		}
		fmt.Fprintln(os.Stderr, "alive:", err)
		return
	}
	r, w, err := os.Pipe()
	assert.NilError(t, err)
	r.Close()
	var stderr strings.Builder
	child := exec.Command(os.Args[0], "-test.run=^TestStdioBrokenPipe$")
	child.Env = append(os.Environ(), "CONSOLE_TEST_CHILD=1")
	child.Stdout, child.Stderr = w, &stderr
	err = child.Start()
	w.Close()
	if errors.Is(err, unix.ENOEXEC) {
		t.Skip("these tests run in an emulator, which does not run their children")
	}
	assert.NilError(t, err)
	child.Wait() // its test framework may die of its own prints
	assert.Check(t, is.Contains(stderr.String(), "alive: write: broken pipe"))
}
