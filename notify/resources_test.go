package notify

import (
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

func TestCloseGivesEverythingBack(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			closeBoth(k.open(t)) // whatever Go keeps for itself
			fds, goroutines := openDescriptors(t), runtime.NumGoroutine()
			for range 10 {
				closeBoth(k.open(t))
			}
			if now := openDescriptors(t); now != fds {
				t.Errorf("%d descriptors before, %d after", fds, now)
			}
			for end := time.Now().Add(watchdog); runtime.NumGoroutine() > goroutines; runtime.Gosched() {
				if time.Now().After(end) {
					t.Fatalf("%d goroutines before\n%s", goroutines, stacks())
				}
			}
		})
	}
}

func TestFailureGivesEverythingBack(t *testing.T) {
	path := bellPath(t)
	listen(t, path)
	pipe := [2]int{}
	must(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	defer closeAll(pipe[:])
	fds := openDescriptors(t)
	for range 10 {
		if _, err := ListenUnix(path); err == nil {
			t.Fatal("two listeners")
		}
		if _, err := DialUnix(path + "x"); err == nil {
			t.Fatal("dialled nobody")
		}
		if _, err := NewEventfd(pipe[1], pipe[0]); err == nil {
			t.Fatal("adopted a pipe")
		}
		file, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		must(t, err)
		if _, err := newSource(file, "file", nil); err == nil { // takes over
			t.Fatal("waits for a file")
		}
	}
	if now := openDescriptors(t); now != fds {
		t.Errorf("%d descriptors before, %d after", fds, now)
	}
}

// A connection that was replaced rings nobody, least of all whoever got its
// number.
func TestReplacedSocketIsNotRung(t *testing.T) {
	old, other := socketPair(t), socketPair(t)
	src, err := newSocket(old[0], "test")
	must(t, err)
	must(t, src.close())
	heir, err := unix.FcntlInt(uintptr(other[0]), unix.F_DUPFD_CLOEXEC, old[0])
	must(t, err)
	defer unix.Close(heir)
	if heir != old[0] {
		t.Skipf("somebody else got the number %d", old[0])
	}
	must(t, ringSocket(src))
	must(t, src.close())
	n, err := unix.Read(other[1], make([]byte, 1))
	if n > 0 {
		t.Fatal("the heir was rung")
	}
	wantErr(t, err, unix.EAGAIN)
	closeAll(append(other[:], old[1]))
}

func socketPair(t *testing.T) [2]int {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	return pair
}
