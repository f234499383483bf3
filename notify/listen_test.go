package notify

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

func bellPath(t testing.TB) string { return filepath.Join(t.TempDir(), "bell") }

func listen(t testing.TB, path string) Line {
	t.Helper()
	l, err := ListenUnix(path)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dial(t testing.TB, path string) Line {
	t.Helper()
	l, err := DialUnix(path)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// dialPlain is a peer that is not of this package.
func dialPlain(t testing.TB, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestListenConnectionRingsBothSides(t *testing.T) {
	path := bellPath(t)
	host := listen(t, path)
	for range 3 {
		guest := dialPlain(t, path)
		must(t, within(t, "Wait of the monitor", host.Wait))
		must(t, within(t, "the first byte", func() error {
			_, err := guest.Read(make([]byte, 1))
			return err
		}))
		done := waitParked(t, host) // once per connection
		host.Wake()
		must(t, finished(t, "Wait", done))
	}
}

func TestListenEveryByteRings(t *testing.T) {
	path := bellPath(t)
	host := listen(t, path)
	guest := dialPlain(t, path)
	must(t, within(t, "Wait", host.Wait))
	for b := range 256 {
		done := waitParked(t, host)
		_, err := guest.Write([]byte{byte(b)})
		must(t, err)
		must(t, finished(t, "Wait", done))
	}
}

func TestListenReplacesConnection(t *testing.T) {
	path := bellPath(t)
	host := listen(t, path)
	first := dial(t, path)
	must(t, within(t, "Wait", host.Wait))
	must(t, within(t, "Wait of the first", first.Wait))

	waiting := waitParked(t, host) // on the first connection
	second := dial(t, path)
	must(t, finished(t, "Wait", waiting))
	wantErr(t, within(t, "Wait of the first", first.Wait), ErrPeerGone)
	must(t, within(t, "Wait of the second", second.Wait))

	must(t, host.Raise())
	must(t, within(t, "Wait of the second", second.Wait))
	must(t, second.Raise())
	must(t, within(t, "Wait", host.Wait))
	must(t, first.Raise()) // into the void
	wantErr(t, within(t, "Wait of the first", first.Wait), ErrPeerGone)
}

func TestListenDisconnectAndReconnect(t *testing.T) {
	path := bellPath(t)
	host := listen(t, path)
	must(t, host.Raise()) // nobody there yet
	for range 3 {
		guest := dialPlain(t, path)
		must(t, within(t, "Wait", host.Wait))
		done := waitParked(t, host)
		must(t, guest.Close())
		// It sleeps on without a connection, neither failing nor spinning.
		untilParked(t, ").Wait(", "chan receive")
		must(t, host.Raise())
		host.Wake()
		must(t, finished(t, "Wait", done))
	}
	done := waitParked(t, host)
	must(t, host.Close())
	wantErr(t, finished(t, "Wait without a connection", done), ErrClosed)
}

// The last ring of a peer that is gone is a ring.
func TestListenLastRingOfADeadPeer(t *testing.T) {
	path := bellPath(t)
	host := listen(t, path)
	for range 100 {
		guest := dialPlain(t, path)
		must(t, within(t, "Wait", host.Wait))
		_, err := guest.Write([]byte{1})
		must(t, err)
		must(t, guest.Close())
		for range 3 {
			must(t, host.Raise()) // hears of the death first
		}
		must(t, within(t, "Wait for the last ring", host.Wait))
	}
}

func TestListenPeerThatNeverReads(t *testing.T) {
	path := bellPath(t)
	host := listen(t, path)
	guest := dialPlain(t, path)
	must(t, within(t, "Wait", host.Wait))
	must(t, within(t, "Raise", func() error {
		for range 100_000 {
			if err := host.Raise(); err != nil {
				return err
			}
		}
		return nil
	}))
	n, err := guest.Read(make([]byte, 1<<20))
	must(t, err)
	if n > pendingRings {
		t.Errorf("%d rings pending, more than one read consumes", n)
	}
	must(t, host.Raise())
	_, err = guest.Read(make([]byte, 1))
	must(t, err)
}

// A peer that floods costs one return of Wait for each full buffer at most.
func TestListenFlood(t *testing.T) {
	path := bellPath(t)
	host := listen(t, path)
	guest := dialPlain(t, path)
	must(t, within(t, "Wait", host.Wait))
	const flood = 1 << 20
	var written atomic.Bool
	writer := start(func() error {
		_, err := guest.Write(make([]byte, flood))
		written.Store(true)
		host.Wake()
		return err
	})
	must(t, within(t, "Wait", func() error {
		for !written.Load() {
			if err := host.Wait(); err != nil {
				return err
			}
		}
		return nil
	}))
	must(t, finished(t, "flood", writer))
}

func TestListenTakesOverStaleFile(t *testing.T) {
	path := bellPath(t)
	fd, addr, err := openSocket(path) // dies without a trace but its file
	must(t, err)
	must(t, unix.Bind(fd, addr))
	must(t, unix.Listen(fd, 1))
	must(t, unix.Close(fd))
	host := listen(t, path)
	dial(t, path)
	must(t, within(t, "Wait", host.Wait))
}

func TestListenRefusesLivePath(t *testing.T) {
	path := bellPath(t)
	fd, addr, err := openSocket(path)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, addr))
	for _, state := range []string{"bound", "listening"} {
		_, err := ListenUnix(path)
		wantErr(t, err, unix.EADDRINUSE)
		if !strings.Contains(err.Error(), "another process is listening") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: unclear error: %v", state, err)
		}
		must(t, unix.Listen(fd, 1))
	}
	// Asking has not made a connection, which would replace the live peer's.
	_, _, err = unix.Accept(fd)
	wantErr(t, err, unix.EAGAIN)
}

func TestListenRefusesOtherFiles(t *testing.T) {
	path := bellPath(t)
	must(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err := ListenUnix(path)
	wantErr(t, err, unix.EADDRINUSE)
	got, err := os.ReadFile(path)
	must(t, err)
	if string(got) != "precious" {
		t.Errorf("the file was changed to %q", got)
	}
}

// Two monitors that find the same stale file: one of them gets the path, and
// what it got is not taken from it.
func TestListenTakeOverRace(t *testing.T) {
	for range 50 {
		path := bellPath(t)
		fd, addr, err := openSocket(path)
		must(t, err)
		must(t, unix.Bind(fd, addr))
		must(t, unix.Close(fd))
		var lines [4]Line
		var results [len(lines)]<-chan error
		for i := range lines {
			results[i] = start(func() (err error) { lines[i], err = ListenUnix(path); return err })
		}
		var host Line
		for i, r := range results {
			switch err := finished(t, "ListenUnix", r); {
			case err != nil:
			case host != nil:
				t.Fatal("two monitors listen at one path")
			default:
				host = lines[i]
			}
		}
		if host == nil {
			t.Fatal("nobody took the path over")
		}
		guest := dial(t, path)
		must(t, within(t, "Wait", host.Wait))
		must(t, host.Close())
		must(t, guest.Close())
	}
}

func TestListenCloseRemovesItsFile(t *testing.T) {
	for _, path := range []string{"bell", "@bell"} {
		dir := t.TempDir()
		t.Chdir(dir)
		l, err := ListenUnix(path)
		must(t, err)
		_, err = os.Lstat(filepath.Join(dir, path))
		must(t, err)
		t.Chdir(t.TempDir()) // the relative path means where we were
		must(t, l.Close())
		_, err = os.Lstat(filepath.Join(dir, path))
		wantErr(t, err, os.ErrNotExist)
	}
}

func TestListenCloseLeavesTheFilesOfOthers(t *testing.T) {
	path := bellPath(t)
	first := listen(t, path)
	must(t, os.Remove(path))
	second := listen(t, path)
	must(t, first.Close())
	dial(t, path)
	must(t, within(t, "Wait", second.Wait))
	must(t, os.Remove(path))
	must(t, second.Close()) // gone already is no error
}

// Without descriptors a connection waits; it is not lost and accept does not
// spin.
func TestListenOutOfDescriptors(t *testing.T) {
	path := bellPath(t)
	host := listen(t, path)
	fd, addr, err := openSocket(path)
	must(t, err)
	defer unix.Close(fd)
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}))
	restore := func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) }
	defer restore()
	must(t, unix.Connect(fd, addr))
	untilParked(t, ").accept(", "select")
	restore()
	must(t, within(t, "Wait", host.Wait))
}

func TestUnixPaths(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct{ path, want string }{
		{"", "empty path"},
		{"a\x00b", "zero byte"},
		{strings.Repeat("x", maxPath+1), "a socket takes 107"},
		{"no/such/directory", "no such file"},
	} {
		_, err := ListenUnix(c.path)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ListenUnix(%q): %v", c.path, err)
		}
		_, err = DialUnix(c.path)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("DialUnix(%q): %v", c.path, err)
		}
	}
	longest := strings.Repeat("x", maxPath)
	listen(t, longest)
	dial(t, longest)
	if left, _ := filepath.Glob("a*"); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

func TestDialNobody(t *testing.T) {
	path := bellPath(t)
	_, err := DialUnix(path)
	wantErr(t, err, unix.ENOENT)
	host := listen(t, path)
	guest := dial(t, path)
	must(t, within(t, "Wait", guest.Wait)) // accepted
	must(t, host.Raise())
	must(t, host.Close())
	must(t, guest.Raise())
	must(t, within(t, "Wait for the last ring", guest.Wait))
	for range 2 {
		wantErr(t, within(t, "Wait", guest.Wait), ErrPeerGone)
	}
	guest.Wake()
	must(t, within(t, "Wait", guest.Wait))
}
