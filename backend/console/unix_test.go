package console

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"golang.org/x/sys/unix"
)

// listen is a console on a socket.
func listen(t *testing.T) (l *link, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "console")
	e, err := ListenUnix(path)
	assert.NilError(t, err)
	return newLink(t, Options{Ports: []Port{{Endpoint: e}}}), path
}

// dial connects a client, which gives up after the watchdog.
func dial(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", path)
	assert.NilError(t, err)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(watchdog))
	return c.(*net.UnixConn)
}

// say has the driver print text, and waits until that is done.
func (l *link) say(text string) {
	l.t.Helper()
	l.send(1, text, 64)
	l.used(1)
}

// types has a client type text, and waits until the driver has it.
func (l *link) types(client io.Writer, text string) {
	l.t.Helper()
	_, err := io.WriteString(client, text)
	assert.NilError(l.t, err)
	l.takes(text)
}

// takes waits until the driver has this input.
func (l *link) takes(text string) {
	l.t.Helper()
	for got := ""; got != text; {
		addr := l.receive(0, 1000)
		got += l.received(0, addr)
		assert.Assert(l.t, strings.HasPrefix(text, got), "got %q", got)
	}
}

func TestUnixClientsComeAndGo(t *testing.T) {
	l, path := listen(t)
	for _, text := range []string{"first", "second", "third"} {
		client := dial(t, path)
		l.say(text)
		assert.Equal(t, readN(t, client, len(text)), text)
		l.types(client, text)
		client.Close()
		l.say("nobody reads this") // and it does not hold up the driver
	}
	assert.Equal(t, l.console.Stats()[0].Dropped, uint64(3*len("nobody reads this")))
}

// A driver that reboots does not disconnect the client.
func TestUnixClientOutlivesReset(t *testing.T) {
	l, path := listen(t)
	client := dial(t, path)
	for range 3 {
		l.say("boot")
		assert.Equal(t, readN(t, client, 4), "boot")
		io.WriteString(client, "typed while it reboots")
		l.stop()
		l.start()
		l.takes("typed while it reboots")
	}
}

// What a client typed before it left is not lost, even what still was in the socket when the
// next one came.
func TestUnixInputOfClientThatLeft(t *testing.T) {
	l, path := listen(t)
	typed := strings.Repeat("0123456789\n", 2*readAhead/11)
	client := dial(t, path)
	io.WriteString(client, typed)
	u := l.console.ports[0].Endpoint.(*unixSocket)
	eventually(t, "the client to be let in", func() bool { return u.current() != nil })
	first := u.current()
	client.Close()
	next := dial(t, path)
	eventually(t, "the next to be let in", func() bool { return u.current() != first })
	l.say("hello")
	assert.Equal(t, readN(t, next, 5), "hello")
	io.WriteString(next, "next\n")
	l.takes(typed + "next\n")
}

// Whoever is connected before the driver prints reads it: there is no moment between.
func TestUnixNoMomentWithoutClient(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	e, err := ListenUnix(path)
	assert.NilError(t, err)
	defer e.Close()
	for range 500 {
		client := dial(t, path)
		_, err := io.WriteString(e, "x")
		assert.NilError(t, err)
		client.Close()
	}
}

func TestUnixNewClientReplacesOld(t *testing.T) {
	l, path := listen(t)
	old := dial(t, path)
	l.types(old, "old")
	client := dial(t, path)
	_, err := old.Read(make([]byte, 1))
	assert.Check(t, is.ErrorIs(err, io.EOF))
	l.types(client, "new")
	l.say("hello")
	assert.Equal(t, readN(t, client, 5), "hello")
}

// A client that does not read stalls the driver's output, and nothing else; one that replaces
// it ends that, and so does a reset.
func TestUnixClientDoesNotRead(t *testing.T) {
	l, path := listen(t)
	stuck := dial(t, path)
	flood := func() uint32 { // offers 16 MiB
		l.heads[1] = 0
		return l.offer(1, make16M(l)...)
	}
	flood()
	l.types(stuck, "are you alive?") // input goes on
	l.stop()                         // T17
	l.start()
	flood()
	client := dial(t, path)
	go io.Copy(io.Discard, client)
	l.used(1)
}

func TestUnixHalfClosed(t *testing.T) {
	l, path := listen(t)
	client := dial(t, path)
	io.WriteString(client, "uname\n")
	client.CloseWrite()
	l.takes("uname\n")
	l.say("Zephyr\n")
	assert.Equal(t, readN(t, client, 7), "Zephyr\n")
	assert.Check(t, l.console.Stats()[0].Attached)
	client.Close()
	eventually(t, "the client to be seen to leave", func() bool { return !l.console.Stats()[0].Attached })
	again := dial(t, path)
	l.types(again, "x")
}

// eventually waits for something that nothing announces.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for begin := time.Now(); !cond(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > watchdog {
			t.Fatalf("waited %v for %s", watchdog, what)
		}
	}
}

func TestUnixAttachEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent")
	e, err := ListenUnix(path)
	assert.NilError(t, err)
	o, _ := one()
	o.Ports = append(o.Ports, Port{Name: "agent", Endpoint: e})
	l := newLink(t, o, FeatureMultiport)
	l.command(0, driverReady, 1)
	l.heard()
	l.heard()
	l.command(1, driverKnows, 1)
	assert.Equal(t, l.heard(), "1 NAME 1 agent")
	client := dial(t, path)
	assert.Equal(t, l.heard(), "1 OPEN 1")
	other := dial(t, path)
	assert.Equal(t, l.heard(), "1 OPEN 0")
	assert.Equal(t, l.heard(), "1 OPEN 1")
	client.Close()
	other.Close()
	assert.Equal(t, l.heard(), "1 OPEN 0")
}

func TestListenUnixTakesOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	assert.NilError(t, err)
	assert.NilError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	unix.Close(fd) // what a killed process leaves behind

	e, err := ListenUnix(path)
	assert.NilError(t, err)
	client := dial(t, path)
	eventually(t, "the client to be accepted", func() bool { return e.(*unixSocket).current() != nil })
	_, err = ListenUnix(path)
	assert.Check(t, is.ErrorIs(err, unix.EADDRINUSE))
	assert.Check(t, is.ErrorContains(err, path))
	_, err = e.Write([]byte("still yours"))
	assert.NilError(t, err)
	assert.Equal(t, readN(t, client, 11), "still yours")

	assert.NilError(t, e.Close())
	_, err = os.Lstat(path)
	assert.Check(t, os.IsNotExist(err))
	assert.Check(t, e.Close() != nil)
	_, err = e.Read(make([]byte, 1))
	assert.Check(t, is.ErrorIs(err, io.EOF))
	_, err = e.Write([]byte("x"))
	assert.Check(t, is.ErrorIs(err, ErrDetached))
}

func TestListenUnixLeavesFilesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	assert.NilError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err := ListenUnix(path)
	assert.Check(t, is.ErrorIs(err, unix.EADDRINUSE))
	assert.NilError(t, os.Remove(path))

	// Close does not remove what somebody else put there.
	e, err := ListenUnix(path)
	assert.NilError(t, err)
	assert.NilError(t, os.Remove(path))
	assert.NilError(t, os.WriteFile(path, []byte("precious"), 0o600))
	assert.NilError(t, e.Close())
	_, err = os.Lstat(path)
	assert.NilError(t, err)
}
