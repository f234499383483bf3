package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

// watchdog only ends a hang.
const watchdog = 60 * time.Second

// proc is a process under test.
type proc struct {
	tb   testing.TB
	cmd  *exec.Cmd
	out  *lines
	log  *lines // stderr
	done chan struct{}
	err  error // of Wait, after done
}

// start starts a process that the end of the test kills.
func start(tb testing.TB, cmd *exec.Cmd) *proc {
	tb.Helper()
	return startWith(tb, cmd, nil)
}

// startWith does so with a standard output of the caller's.
func startWith(tb testing.TB, cmd *exec.Cmd, stdout *os.File) *proc {
	tb.Helper()
	p := &proc{tb: tb, cmd: cmd, out: newLines(), log: newLines(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.log
	if stdout != nil {
		cmd.Stdout = stdout
	}
	err := cmd.Start()
	assert.NilError(tb, err)
	go func() {
		p.err = cmd.Wait()
		p.out.end()
		p.log.end()
		close(p.done)
	}()
	tb.Cleanup(p.kill)
	return p
}

// emulator is what runs programs of this machine, where these tests of another machine run under
// one too; "" where there is no need.
var emulator = sync.OnceValue(func() string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, "help")
	cmd.Env = append(os.Environ(), childEnv+"=pmm")
	if !errors.Is(cmd.Run(), syscall.ENOEXEC) {
		return ""
	}
	return map[string]string{"arm64": "qemu-aarch64", "amd64": "qemu-x86_64"}[runtime.GOARCH]
})

// program is a program built for the machine of these tests.
func program(path string, args ...string) *exec.Cmd {
	if e := emulator(); e != "" {
		return exec.Command(e, append([]string{path}, args...)...)
	}
	return exec.Command(path, args...)
}

// child is this test binary as another program.
func child(name string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := program(self, args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	return cmd
}

// kill is SIGKILL, and returns when the process is gone.
func (p *proc) kill() {
	p.cmd.Process.Kill() // it may be gone already
	<-p.done
}

func (p *proc) signal(s os.Signal) {
	p.tb.Helper()
	assert.NilError(p.tb, p.cmd.Process.Signal(s))
}

// wait waits for the end and returns the exit status, -1 for a signal.
func (p *proc) wait() int {
	p.tb.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(watchdog):
		p.tb.Fatalf("%v does not end:\n%s%s", p.cmd.Args, p.out, p.log)
		return -1
	}
}

// lines is output as it comes, for somebody who waits for a certain line of it.
type lines struct {
	mu    sync.Mutex
	text  strings.Builder
	ended bool
	more  chan struct{} // closed when there is more, or the end
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	close(l.more)
	l.more = make(chan struct{})
	return len(b), nil
}

func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	close(l.more)
	l.more = make(chan struct{})
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await returns the nth line, from 1, that contains the text.
func (l *lines) await(tb testing.TB, text string, nth int) string {
	tb.Helper()
	expired := time.After(watchdog)
	for {
		l.mu.Lock()
		all, ended, more := l.text.String(), l.ended, l.more
		l.mu.Unlock()
		found := 0
		for line := range strings.Lines(all) {
			if strings.HasSuffix(line, "\n") && strings.Contains(line, text) {
				if found++; found == nth {
					return line
				}
			}
		}
		if ended {
			tb.Fatalf("no line %d with %q:\n%s", nth, text, all)
		}
		select {
		case <-more:
		case <-expired:
			tb.Fatalf("no line %d with %q in %v:\n%s", nth, text, watchdog, all)
		}
	}
}

// room is where one test's monitors and front-ends meet.
type room struct {
	tb  testing.TB
	dir string
	shm string // the window
}

const (
	roomAddr = 0x37000000
	roomSize = 16 << 20
)

// newRoom has its window in memory where it can. The name of its folder is short: a socket's
// path holds 107 bytes.
func newRoom(tb testing.TB) *room {
	tb.Helper()
	temp := func(parent string) (string, error) {
		dir, err := os.MkdirTemp(parent, "pmm")
		tb.Cleanup(func() { os.RemoveAll(dir) })
		return dir, err
	}
	dir, err := temp("")
	assert.NilError(tb, err)
	memory, err := temp("/dev/shm")
	if err != nil {
		memory = dir
	}
	return &room{tb: tb, dir: dir, shm: filepath.Join(memory, "window")}
}

func (r *room) path(name string) string { return filepath.Join(r.dir, name) }

// args are the flags of a monitor in the room, with all sockets, and two devices unless others
// are given among more.
func (r *room) args(more ...string) []string {
	args := []string{
		"run", "-shmem", fmt.Sprintf("file:%s,size=%d,addr=%#x", r.shm, roomSize, roomAddr),
		"-doorbell", "unix:" + r.path("bell"), "-status", "unix:" + r.path("status"),
	}
	for _, a := range more {
		if a == "-device" {
			return append(args, more...)
		}
	}
	return append(append(args, "-device", "rng", "-device", "console,unix="+r.path("console")), more...)
}

// monitor starts one and waits until it is ready.
func (r *room) monitor(more ...string) *proc {
	r.tb.Helper()
	p := start(r.tb, child("pmm", r.args(more...)...))
	p.log.await(r.tb, "msg=ready", 1)
	return p
}

// stop ends a monitor as a service manager does and sees that it ends well.
func (p *proc) stop() {
	p.tb.Helper()
	p.signal(unix.SIGTERM)
	assert.Equal(p.tb, p.wait(), 0, "%s", p.log)
}
