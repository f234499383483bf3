package notify

import (
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kinds are what the conformance and allocation tests and the benchmarks run on.
// open returns a connected pair with no ring pending.
var kinds = []struct {
	name string
	open func(t testing.TB) (host, guest Line)
}{
	{"pair", func(testing.TB) (host, guest Line) { return NewPair() }},
	{"eventfd", func(t testing.TB) (host, guest Line) {
		host, guest, err := EventfdPair()
		must(t, err)
		return host, guest
	}},
	{"eventfd-blocking", func(t testing.TB) (host, guest Line) { return openEventfds(t, 0) }},
	{"unix", func(t testing.TB) (host, guest Line) {
		path := filepath.Join(t.TempDir(), "bell")
		host, err := ListenUnix(path)
		must(t, err)
		guest, err = DialUnix(path)
		must(t, err)
		must(t, host.Wait())  // the new connection
		must(t, guest.Wait()) // the ring it starts with
		return host, guest
	}},
	// The two sides of a poll wake each other, as no signal would; they sleep long
	// enough for the test to hang if that were lost.
	{"poll", func(t testing.TB) (host, guest Line) {
		host, err := NewPoll(time.Hour, time.Hour, func() error { guest.Wake(); return nil })
		must(t, err)
		guest, err = NewPoll(time.Hour, time.Hour, func() error { host.Wake(); return nil })
		must(t, err)
		return host, guest
	}},
}

// openEventfds adopts two eventfds for both sides, as if received from a peer.
func openEventfds(t testing.TB, flags int) (host, guest Line) {
	t.Helper()
	a, b := newFD(t, flags), newFD(t, flags)
	host, err := NewEventfd(a, b)
	must(t, err)
	c, err := unix.Dup(b)
	must(t, err)
	d, err := unix.Dup(a)
	must(t, err)
	guest, err = NewEventfd(c, d)
	must(t, err)
	return host, guest
}

func newFD(t testing.TB, flags int) int {
	t.Helper()
	fd, err := unix.Eventfd(0, flags|unix.EFD_CLOEXEC)
	must(t, err)
	return fd
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantErr fails unless err wraps target.
func wantErr(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

// A watchdog only turns a hang into a failure. The long one is for tests that do
// a thing many thousand times, perhaps on an emulated processor.
const (
	watchdog     = 10 * time.Second
	longWatchdog = 2 * time.Minute
)

// within fails the test if f does not return.
func within(t testing.TB, what string, f func() error) error {
	t.Helper()
	return finished(t, what, start(f))
}

// withinLong is within for long tests.
func withinLong(t testing.TB, what string, f func() error) error {
	t.Helper()
	return result(t, what, start(f), longWatchdog)
}

// start runs f in a goroutine of its own.
func start(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// finished returns what start's f returned, and fails the test if it hangs.
func finished(t testing.TB, what string, done <-chan error) error {
	t.Helper()
	return result(t, what, done, watchdog)
}

func result(t testing.TB, what string, done <-chan error, limit time.Duration) error {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		t.Fatalf("%s hangs\n%s", what, stacks())
		return nil
	}
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// untilParked returns when a goroutine that is in function waits in one of the
// states of the runtime's traces.
func untilParked(t testing.TB, function string, states ...string) {
	t.Helper()
	for end := time.Now().Add(watchdog); time.Now().Before(end); runtime.Gosched() {
		for g := range strings.SplitSeq(stacks(), "\n\n") {
			head, rest, _ := strings.Cut(g, "\n")
			if !strings.Contains(rest, function) {
				continue
			}
			for _, s := range states {
				if strings.Contains(head, "["+s) {
					return
				}
			}
		}
	}
	t.Fatalf("no goroutine waits in %s\n%s", function, stacks())
}

// waitParked starts a Wait and returns when it sleeps.
func waitParked(t testing.TB, l Line) <-chan error {
	t.Helper()
	done := start(l.Wait)
	waitIsParked(t)
	return done
}

// waitIsParked returns when a Wait sleeps.
func waitIsParked(t testing.TB) {
	t.Helper()
	untilParked(t, ").Wait(", "IO wait", "chan receive")
}
