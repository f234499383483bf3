package main

import (
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/skip"
)

// A window whose file is truncated stops the devices, not the monitor, and is served anew when
// it is there again.
func TestDRV_33_TruncatedUnderTheMonitor(t *testing.T) {
	if machine, err := os.ReadFile("/proc/sys/kernel/arch"); err == nil {
		emulated := runtime.GOARCH == "arm64" && !strings.Contains(string(machine), "aarch64")
		skip.If(t, emulated, "QEMU's user mode does not tell where a fault was")
	}
	r := newRoom(t)
	m := r.monitor()
	info, err := os.Stat(r.shm)
	assert.NilError(t, err)
	r.twin("virtio-exp", "rng", "9", "10").ends(0)
	assert.NilError(t, os.Truncate(r.shm, 0))
	bell, err := net.Dial("unix", r.path("bell")) // a new front-end makes it look
	assert.NilError(t, err)
	defer bell.Close()
	m.log.await(t, "the window vanished", 1)
	assert.NilError(t, os.Truncate(r.shm, info.Size()))
	m.log.await(t, "msg=ready", 2)
	r.twin("virtio-exp", "rng", "9", "10").ends(0)
	m.stop()
}
