package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/emulator"
)

// workload is one row of the table. Depth 1 is one request after the other.
type workload struct {
	Name    string
	Console bool // output on a console, else entropy
	Bytes   int  // of a request
	Ring    int
	Depth   int
}

var workloads = []workload{
	{"rng-9B-sync", false, 9, 2, 1},
	{"rng-9B-depth16", false, 9, 16, 16},
	{"rng-4096B-sync", false, 4096, 2, 1},
	{"console-1B-ring4", true, 1, 4, 4},
	{"console-4096B-sync", true, 4096, 4, 1},
	{"console-4096B-ring16", true, 4096, 16, 16},
}

// figures are what one run measured.
type figures struct {
	Elapsed  time.Duration // for all requests
	P50, P99 time.Duration
	Out, In  float64 // doorbells a request
}

// BenchmarkTwoProcess runs the public pmm run and a front-end as two processes, each on a CPU of
// its own, over a file and a socket. "asleep" has both sleep whenever they have nothing to do,
// "spinning" has both watch the memory. "bare" is a request and an answer of the same size
// through the same memory and socket without virtio: what there is to be had, one at a time.
// scripts/bench-two-process makes a table of it.
func BenchmarkTwoProcess(b *testing.B) {
	var cpus unix.CPUSet
	assert.NilError(b, unix.SchedGetaffinity(0, &cpus))
	if cpus.Count() < 2 {
		b.Skip("two CPUs are needed, one for each process")
	}
	pmm := buildPMM(b)
	for _, mode := range []struct {
		name string
		spin time.Duration
	}{{"asleep", 0}, {"spinning", time.Millisecond}} {
		b.Run(mode.name, func(b *testing.B) {
			for _, n := range []int{9, 4096} {
				b.Run(fmt.Sprintf("bare-%dB", n), func(b *testing.B) {
					benchBare(b, cpus, bare{Bytes: n, Spin: mode.spin > 0})
				})
			}
			for _, w := range workloads {
				b.Run(w.Name, func(b *testing.B) { benchVirtio(b, pmm, cpus, w, mode.spin) })
			}
		})
	}
}

// buildPMM builds the command as a user would.
func buildPMM(tb testing.TB) string {
	tb.Helper()
	path := tb.TempDir() + "/pmm"
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	assert.NilError(tb, err, "%s", out)
	return path
}

// startOn starts a process on the nth of the CPUs.
func startOn(tb testing.TB, cpus unix.CPUSet, nth int, cmd *exec.Cmd) *proc {
	tb.Helper()
	var one unix.CPUSet
	for cpu := 0; one.Count() == 0; cpu++ {
		if cpus.IsSet(cpu) {
			if nth == 0 {
				one.Set(cpu)
			}
			nth--
		}
	}
	// A child inherits the CPUs of the thread that forks it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	assert.NilError(tb, unix.SchedSetaffinity(0, &one))
	defer unix.SchedSetaffinity(0, &cpus)
	return start(tb, cmd)
}

func benchVirtio(b *testing.B, pmm string, cpus unix.CPUSet, w workload, spin time.Duration) {
	r := newRoom(b)
	args := r.args("-device", "rng", "-device", "console,file=/dev/null", "-spin", spin.String())
	m := startOn(b, cpus, 0, emulator.Command(pmm, args...))
	m.log.await(b, "msg=ready", 1)
	measure(b, cpus, "bench", job{
		Workload: w, N: b.N, Spin: spin,
		Window: r.shm, Bell: r.path("bell"), Status: r.path("status"),
	})
	m.stop()
}

func benchBare(b *testing.B, cpus unix.CPUSet, job bare) {
	r := newRoom(b)
	job.Window, job.Bell, job.N = r.shm, r.path("bell"), b.N
	job.Serve = true
	peer := startOn(b, cpus, 0, child("bare", mustJSON(job)))
	peer.log.await(b, "ready", 1)
	job.Serve = false
	measure(b, cpus, "bare", job)
	assert.Equal(b, peer.wait(), 0, "%s", peer.log)
}

// measure runs a child that prints figures and reports them.
func measure(b *testing.B, cpus unix.CPUSet, program string, job any) {
	b.Helper()
	p := startOn(b, cpus, 1, child(program, mustJSON(job)))
	assert.Equal(b, p.wait(), 0, "%s%s", p.out, p.log)
	var f figures
	assert.NilError(b, json.Unmarshal([]byte(p.out.String()), &f))
	b.ReportMetric(float64(f.Elapsed)/float64(b.N), "ns/op")
	b.ReportMetric(float64(b.N)/f.Elapsed.Seconds(), "req/s")
	b.ReportMetric(float64(f.P50), "p50-ns")
	b.ReportMetric(float64(f.P99), "p99-ns")
	b.ReportMetric(f.Out, "rings-out/op")
	b.ReportMetric(f.In, "rings-in/op")
}

func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
