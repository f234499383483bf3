package notify

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEventfdRefuses(t *testing.T) {
	good := newFD(t, 0)
	defer unix.Close(good)
	const closed = 1 << 30 // a number no descriptor gets
	var pipe [2]int
	must(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	defer closeAll(pipe[:])
	file, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(file)
	for _, c := range []struct {
		name       string
		call, kick int
		err        error
	}{
		{"closed call", closed, good, unix.EBADF},
		{"closed kick", good, closed, unix.EBADF},
		{"pipe as kick", good, pipe[0], errDrained},
		{"file as kick", good, file, unix.EPERM},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewEventfd(c.call, c.kick)
			wantErr(t, err, c.err)
			if e, ok := errors.AsType[*Error](err); !ok || e.Op != "open" || e.Line != "eventfd" {
				t.Errorf("got %#v", err)
			}
		})
	}
	for _, fd := range []int{good, pipe[0], file} { // still ours
		_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		must(t, err)
	}
}

// The mode of a received descriptor belongs to the peer as well.
func TestEventfdLeavesTheModeAlone(t *testing.T) {
	for _, flags := range []int{0, unix.EFD_NONBLOCK} {
		call, kick := newFD(t, flags), newFD(t, flags)
		mode := func(fd int) int {
			m, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
			must(t, err)
			return m
		}
		callMode, kickMode := mode(call), mode(kick)
		line, err := NewEventfd(call, kick)
		must(t, err)
		must(t, line.Raise())
		line.Wake()
		must(t, within(t, "Wait", line.Wait))
		if mode(call) != callMode || mode(kick) != kickMode {
			t.Errorf("mode of call %#x became %#x, of kick %#x became %#x", callMode, mode(call), kickMode, mode(kick))
		}
		must(t, line.Close())
	}
}

// What was rung before the descriptor was adopted counts as well.
func TestEventfdRungBeforeAdoption(t *testing.T) {
	call, kick := newFD(t, 0), newFD(t, 0)
	_, err := unix.Write(kick, ring[:])
	must(t, err)
	line, err := NewEventfd(call, kick)
	must(t, err)
	defer line.Close()
	must(t, within(t, "Wait", line.Wait))
}

// A peer that reads the count of our kick away, having made it blocking, takes
// its own rings at most.
func TestEventfdThief(t *testing.T) {
	call, kick := newFD(t, unix.EFD_NONBLOCK), newFD(t, unix.EFD_NONBLOCK)
	line, err := NewEventfd(call, kick)
	must(t, err)
	defer line.Close()
	must(t, unix.SetNonblock(kick, false))
	var count [8]byte
	for range 100 {
		_, err := unix.Write(kick, ring[:])
		must(t, err)
		_, err = unix.Read(kick, count[:])
		must(t, err)
		line.Wake()
		must(t, within(t, "Wait", line.Wait))
	}
	done := start(func() error {
		for {
			if err := line.Wait(); err != nil {
				return err
			}
		}
	})
	untilParked(t, ").Wait(", "IO wait")
	must(t, line.Close())
	wantErr(t, finished(t, "Wait", done), ErrClosed)
}

func TestEventfdRaiseNeverBlocks(t *testing.T) {
	full := [8]byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for _, flags := range []int{0, unix.EFD_NONBLOCK} {
		call, kick := newFD(t, flags), newFD(t, flags)
		_, err := unix.Write(call, full[:])
		must(t, err)
		line, err := NewEventfd(call, kick)
		must(t, err)
		for range 3 {
			must(t, within(t, "Raise", line.Raise))
		}
		must(t, line.Close())
	}
}

// Some front-ends send a pipe or a socket to be called on.
func TestEventfdCallIsAPipe(t *testing.T) {
	for _, flags := range []int{unix.O_CLOEXEC, unix.O_CLOEXEC | unix.O_NONBLOCK} {
		var pipe [2]int
		must(t, unix.Pipe2(pipe[:], flags))
		line, err := NewEventfd(pipe[1], newFD(t, 0))
		must(t, err)
		must(t, line.Raise())
		var b [16]byte
		n, err := unix.Read(pipe[0], b[:])
		must(t, err)
		if n != 8 || [8]byte(b[:8]) != ring {
			t.Errorf("raise wrote % x", b[:n])
		}
		must(t, within(t, "Raise to a pipe nobody reads", func() error {
			for range 100_000 {
				if err := line.Raise(); err != nil {
					return err
				}
			}
			return nil
		}))
		must(t, unix.Close(pipe[0]))
		must(t, line.Raise()) // nobody there is no error
		must(t, line.Close())
	}
}
