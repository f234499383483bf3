package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/shmem"
)

// gone reports whether a file is not there.
func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func TestSignalsStopTheMonitor(t *testing.T) {
	for _, s := range []os.Signal{unix.SIGTERM, unix.SIGINT} {
		for _, live := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, front-end %v", s, live), func(t *testing.T) {
				r := newRoom(t)
				m := r.monitor()
				if live {
					f := r.twin("virtio-exp", "rng", "9", "1000000")
					m.log.await(t, "is live", 1)
					defer f.kill()
				}
				m.signal(s)
				m.ends(0)
				assert.Check(t, is.Contains(m.log.String(), "msg=stopped"))
				for _, socket := range []string{"bell", "status", "console"} {
					assert.Check(t, gone(r.path(socket)), socket)
				}
				assert.Check(t, !gone(r.shm), "the window is not the monitor's to remove")
			})
		}
	}
}

// The first signal begins an orderly end, which a terminal that takes no more output holds up;
// the second does not wait for it.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	for range 5 {
		r := newRoom(t)
		cmd := child("pmm", r.args("-device", "console,stdio")...)
		in, out, err := os.Pipe()
		assert.NilError(t, err)
		defer in.Close()
		m := startWith(t, cmd, out)
		out.Close()
		m.log.await(t, "msg=ready", 1)
		f := r.twin("virtio-exp", "print", strings.Repeat("x", 100<<10))
		m.log.await(t, "is live", 1)
		fill(t, in)
		m.signal(unix.SIGTERM)
		m.log.await(t, "msg=stopped", 1)
		_ = m.cmd.Process.Signal(unix.SIGTERM) // it may be gone by now
		m.wait()
		f.kill()
		if status := m.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
			assert.Equal(t, status.Signal(), unix.SIGTERM)
			return
		}
		// The first end was faster than we were: once more.
	}
	t.Fatal("the second signal was not heard")
}

// fill returns when a pipe has as much in it as it holds.
func fill(t *testing.T, pipe *os.File) {
	t.Helper()
	conn, err := pipe.SyscallConn()
	assert.NilError(t, err)
	size, held := 0, 0
	for deadline := time.Now().Add(watchdog); held+4096 < size || size == 0; {
		assert.Assert(t, time.Now().Before(deadline), "%d of %d bytes in the pipe", held, size)
		conn.Control(func(fd uintptr) {
			size, _ = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0)
			held, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ)
		})
	}
}

// marked puts a mark into memory that the monitor has no use for.
func (r *room) marked() func() uint32 {
	r.tb.Helper()
	region, err := shmem.OpenFile(r.shm, roomSize)
	assert.NilError(r.tb, err)
	r.tb.Cleanup(func() { region.Close() })
	span, err := region.Span(roomSize/2, 4)
	assert.NilError(r.tb, err)
	span.Store32(0, 0x6d61726b)
	return func() uint32 { return span.Load32(0) }
}

func TestWipe(t *testing.T) {
	r := newRoom(t)
	m := r.monitor()
	r.twin("virtio-exp", "rng", "9", "3").ends(twinDone)
	mark := r.marked()
	m.kill()
	m = r.monitor()
	assert.Equal(t, mark(), uint32(0x6d61726b), "a window found live is attached to, never wiped")
	assert.Check(t, is.Contains(m.log.String(), "taken over"))
	m.stop()
	m = r.monitor("-wipe")
	assert.Equal(t, mark(), uint32(0))
	assert.Check(t, !strings.Contains(m.log.String(), "taken over"))
	r.twin("virtio-exp", "rng", "9", "3").ends(twinDone)
	m.stop()
}
