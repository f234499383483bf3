package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/internal/emulator"
)

var idleTime = flag.Duration("idle", 200*time.Millisecond, "how long BenchmarkIdle watches the monitor")

// BenchmarkIdle watches a monitor with two devices and a live front-end while nothing happens:
// its CPU ticks and context switches, and how much memory it holds besides the window.
// scripts/check-idle says what they have to be.
func BenchmarkIdle(b *testing.B) {
	r := newRoom(b)
	m := start(b, emulator.Command(buildPMM(b), r.args()...))
	m.log.await(b, "msg=ready", 1)
	r.serves(r.open(r.dial(), driver.VirtioExp))
	pid := m.cmd.Process.Pid
	b.ReportMetric(resident(b, pid, r.shm)/(1<<20), "MiB")
	// The runtime's own housekeeping ends soon after the work.
	settle(b, pid)
	ticks, switches := cost(b, pid)
	time.Sleep(*idleTime)
	ticksAfter, switchesAfter := cost(b, pid)
	b.ReportMetric(float64(ticksAfter-ticks), "ticks")
	b.ReportMetric(float64(switchesAfter-switches), "switches")
	b.ReportMetric(0, "ns/op")
	m.stop()
}

// settle returns when a process has not been on a CPU for a while, or does not come to rest.
func settle(tb testing.TB, pid int) {
	_, before := cost(tb, pid)
	for range 50 {
		time.Sleep(200 * time.Millisecond)
		_, now := cost(tb, pid)
		if now == before {
			return
		}
		before = now
	}
}

// cost is the CPU time of a process in ticks, and how often one of its threads was put on or
// taken off a CPU.
func cost(tb testing.TB, pid int) (ticks, switches int) {
	tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	assert.NilError(tb, err)
	// The fields behind the name, which can have anything in it.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		assert.NilError(tb, err)
		ticks += n
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	assert.NilError(tb, err)
	for _, t := range threads {
		status, err := os.ReadFile(t)
		assert.NilError(tb, err)
		for line := range strings.Lines(string(status)) {
			if name, value, _ := strings.Cut(line, ":"); strings.HasSuffix(name, "ctxt_switches") {
				n, err := strconv.Atoi(strings.TrimSpace(value))
				assert.NilError(tb, err)
				switches += n
			}
		}
	}
	return ticks, switches
}

// resident is the memory of a process in bytes, less its mapping of a file.
func resident(tb testing.TB, pid int, except string) (bytes float64) {
	tb.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	assert.NilError(tb, err)
	counts := false
	for line := range strings.Lines(string(maps)) {
		fields := strings.Fields(line)
		if strings.Contains(fields[0], "-") { // the range of a mapping, and at its end the file
			counts = !strings.HasSuffix(strings.TrimSpace(line), except)
		}
		if fields[0] == "Rss:" && counts {
			kib, err := strconv.ParseFloat(fields[1], 64)
			assert.NilError(tb, err)
			bytes += kib * 1024
		}
	}
	return bytes
}
