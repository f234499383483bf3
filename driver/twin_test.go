package driver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/internal/emulator"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// The driver side of hvl-v2 in C, as a process against a monitor of ours in another one.

const twinDir = "HVL2_TWIN" // where the window and the doorbell of a monitor are; set in a child

// buildHvl2 compiles the twin.
func buildHvl2(t *testing.T, dir string) string {
	t.Helper()
	cc, err := exec.LookPath("gcc")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no C compiler, so the driver in C cannot be built")
		}
		t.Skip("no C compiler, so the driver in C cannot be built")
	}
	path := filepath.Join(dir, "hvl2")
	out, err := exec.Command(cc, "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2", "-o", path, "c/hvl2.c", "c/hvl2main.c").CombinedOutput()
	assert.NilError(t, err, "%s", out)
	return path
}

// TestTwinProcess is the monitor.
func TestTwinProcess(t *testing.T) {
	dir := os.Getenv(twinDir)
	if dir == "" {
		t.Skip("only of use to TestTwin")
	}
	window, err := shmem.OpenFile(filepath.Join(dir, "window"), winSize)
	assert.NilError(t, err)
	line, err := notify.ListenUnix(filepath.Join(dir, "bell"))
	assert.NilError(t, err)
	host, user := net.Pipe()
	go func() { _, _ = io.Copy(user, user) }()
	bus, err := mmio.NewBus(mmio.Options{
		Region: window, Addr: winAddr, Line: line, Layout: mmio.Modern, Log: slog.New(slog.DiscardHandler),
	})
	assert.NilError(t, err)
	var entropy virtio.Backend = rng.New(rng.Options{})
	if rand.IntN(4) == 0 {
		entropy = forgetful{entropy}
	}
	assert.NilError(t, bus.Add("rng", entropy, 0))
	assert.NilError(t, bus.Add("console", terminal(t, host), 0))
	assert.NilError(t, bus.Run(context.Background()))
}

// forgetful is a device that cannot go on where a killed monitor was.
type forgetful struct{ virtio.Backend }

func (f forgetful) Info() virtio.Info {
	info := f.Backend.Info()
	info.InOrder, info.Redo = false, false
	return info
}

// twinMonitor starts one in dir and waits until it serves.
func twinMonitor(t *testing.T, dir string) (kill func()) {
	t.Helper()
	window, err := shmem.OpenFile(filepath.Join(dir, "window"), winSize)
	assert.NilError(t, err)
	defer window.Close()
	page, err := window.Span(0x2000, 0x1000)
	assert.NilError(t, err)
	starts := page.Load32(0x820)
	cmd := emulator.Command(os.Args[0], "-test.run=^TestTwinProcess$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), twinDir+"="+dir)
	assert.NilError(t, cmd.Start())
	until(t, func() bool { return page.Load32(0x820) != starts })
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// twinDirectory is short: a socket's path holds 107 bytes.
func twinDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hvl2")
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, os.RemoveAll(dir)) })
	window, err := shmem.OpenFile(filepath.Join(dir, "window"), winSize)
	assert.NilError(t, err)
	assert.NilError(t, window.Close())
	return dir
}

func TestTwin(t *testing.T) {
	dir := twinDirectory(t)
	path := buildHvl2(t, dir)
	kill := twinMonitor(t, dir)
	t.Cleanup(func() { kill() })
	try := func(args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		args = append([]string{filepath.Join(dir, "window"), filepath.Join(dir, "bell")}, args...)
		out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%v\n%s", err, out)
		}
		return string(out)
	}
	assert.Equal(t, try("rng", "64", "1000"), "rng ok 64 1000\nrestarts 0\n")
	assert.Equal(t, try("echo", "20000"), "echo ok 20000\nrestarts 0\n")

	t.Run("monitor killed", func(t *testing.T) {
		done := make(chan string, 1)
		go func() { done <- try("rng", "512", "20000") }()
		kills := 0
		for {
			select {
			case out := <-done:
				assert.Assert(t, strings.HasPrefix(out, "rng ok 512 20000\n"), "%s", out)
				assert.Assert(t, kills > 0)
				t.Logf("%d kills, %s", kills, strings.TrimSpace(out[strings.Index(out, "\n"):]))
				return
			case <-time.After(time.Duration(rand.IntN(60)) * time.Millisecond):
				kill()
				kill = twinMonitor(t, dir)
				kills++
			}
		}
	})
	t.Run("driver killed", func(t *testing.T) {
		for range 30 {
			cmd := exec.Command(path, filepath.Join(dir, "window"), filepath.Join(dir, "bell"), "rng", "512", "1000000")
			assert.NilError(t, cmd.Start())
			time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond)
			assert.NilError(t, cmd.Process.Kill())
			var exit *exec.ExitError
			assert.Assert(t, errors.As(cmd.Wait(), &exit) && exit.ExitCode() == -1, "%v", exit)
		}
		assert.Assert(t, strings.HasPrefix(try("rng", "64", "200"), fmt.Sprintf("rng ok 64 %d\n", 200)))
	})
}
