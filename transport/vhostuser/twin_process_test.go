package vhostuser_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/console"
	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/internal/emulator"
	"github.com/hypervisorless/virtio/virtio"
)

// The device and the socket of a back-end process are in its environment.
const (
	processDevice = "VHOSTUSER_TWIN_DEVICE"
	processSocket = "VHOSTUSER_TWIN_SOCKET"
)

// TestBackendProcess is no test but the back-end that others start, and kill.
func TestBackendProcess(t *testing.T) {
	device := os.Getenv(processDevice)
	if device == "" {
		t.Skip("this is the back-end process of other tests")
	}
	go func() {
		io.Copy(io.Discard, os.Stdin) // ends with the test that started us
		os.Exit(1)
	}()
	var b virtio.Backend
	switch device {
	case "rng":
		b = rng.New(rng.Options{})
	case "shuffler":
		b = &shuffler{queues: 2, depth: 12}
	case "console":
		f := os.NewFile(3, "terminal")
		conn, err := net.FileConn(f)
		assert.NilError(t, err)
		f.Close()
		b, err = console.New(console.Options{Ports: []console.Port{{Endpoint: conn}}})
		assert.NilError(t, err)
	}
	assert.NilError(t, serve(context.Background(), os.Getenv(processSocket), b))
}

// process is a back-end in a process of its own.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	dead  chan struct{}
}

// start starts a back-end process; files are its descriptors from 3 on.
func start(t testing.TB, device, socket string, files ...*os.File) *process {
	t.Helper()
	self, err := os.Executable()
	assert.NilError(t, err)
	cmd := emulator.Command(self, "-test.run=^TestBackendProcess$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), processDevice+"="+device, processSocket+"="+socket)
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	assert.NilError(t, err)
	assert.NilError(t, cmd.Start())
	p := &process{cmd, stdin, make(chan struct{})}
	go func() {
		defer close(p.dead)
		cmd.Wait()
	}()
	return p
}

// kill kills the process with SIGKILL, if it is still there, and waits until it is gone.
func (p *process) kill(t testing.TB) {
	t.Helper()
	p.cmd.Process.Kill()
	await(t, p.dead, "end of the back-end process")
	p.stdin.Close()
}

// killAfter kills the process some time from now. Whatever it was doing then is cut short.
func (p *process) killAfter(d time.Duration) { time.AfterFunc(d, func() { p.cmd.Process.Kill() }) }

func (p *process) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

func socketIn(t testing.TB) string {
	return filepath.Join(t.TempDir(), fmt.Sprintf("s%d", os.Getpid()%1000))
}
