package main

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/emulator"
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

// child is this test binary as another program.
func child(name string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := emulator.Command(self, args...)
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

// stop ends a monitor as a service manager does and sees that it ends well.
func (p *proc) stop() {
	p.tb.Helper()
	p.signal(unix.SIGTERM)
	assert.Equal(p.tb, p.wait(), 0, "%s", p.log)
}
