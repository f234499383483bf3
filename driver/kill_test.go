package driver_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/emulator"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
)

// The random-kill check of hvl-v2: a monitor and a driver, two processes on one window and a pair
// of eventfds, are killed with SIGKILL at any moment and started again. The driver checks that
// every request is answered, once, rightly and with nothing written beside its buffers, and that
// memory which was given back (by a device reset or a queue reset, over running requests) is never
// touched again. Whatever it finds wrong is its last word.

const (
	killRole     = "HVL2_KILL_ROLE" // of a child; of the test itself:
	killDuration = "HVL2_KILL"      // how long, as 60s; a few seconds if not set

	killWindow = 1 << 20
	killTime   = 5 * time.Second
	killLimit  = time.Minute      // the same on a machine where everything takes long
	stuck      = 10 * time.Second // without progress while nobody is killed
)

// Files of a child, from 3 on.
const (
	killFileWindow = 3 + iota
	killFileToDevice
	killFileToDriver
	killFileCounts
)

// counters are kept in shared memory, as their owners die.
type counters struct{ span shmem.Span }

const (
	countMonitors = iota
	countDrivers
	countLives
	countRequests // two words, one a device
	_
	countResets
	countQueueResets
	countLost
	countRefused
	countConfigReads
	countDrained
	countAll
)

var counterNames = [countAll]string{"monitor starts", "driver starts", "lives", "requests in order", "requests out of order",
	"device resets", "queue resets", "lost states", "writes refused", "config reads", "transactions drained"}

func (c counters) add(i int) {
	for v := c.get(i); !c.span.CompareAndSwap32(uint64(4*i), v, v+1); v = c.get(i) {
	}
}

func (c counters) get(i int) uint32 { return c.span.Load32(uint64(4 * i)) }

func (c counters) String() string {
	var all []string
	for i, name := range counterNames {
		all = append(all, fmt.Sprintf("%d %s", c.get(i), name))
	}
	return strings.Join(all, ", ")
}

// TestKillProcess is what a child runs.
func TestKillProcess(t *testing.T) {
	role := os.Getenv(killRole)
	if role == "" {
		t.Skip("only of use to TestKill")
	}
	window, err := shmem.OpenFD(os.NewFile(killFileWindow, "window"), 0, killWindow, shmem.Normal)
	assert.NilError(t, err)
	counts, err := shmem.OpenFD(os.NewFile(killFileCounts, "counts"), 0, 4096, shmem.Normal)
	assert.NilError(t, err)
	span, err := counts.Span(0, 4096)
	assert.NilError(t, err)
	call, kick := killFileToDriver, killFileToDevice
	if role == "driver" {
		call, kick = kick, call
	}
	line, err := notify.NewEventfd(call, kick)
	assert.NilError(t, err)
	if role == "driver" {
		killDriver(window, line, counters{span})
	} else {
		killMonitor(window, line, counters{span})
	}
}

// violation ends a child, and with it the check.
func violation(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "VIOLATION: "+format+"\n", args...)
	os.Exit(3)
}

// dying is a doorbell whose owner is killed just before it rings, once in odds times: the one place
// for which chance alone takes too long.
type dying struct {
	notify.Line
	odds func() int
}

func (l dying) Raise() error {
	if rand.IntN(l.odds()) == 0 {
		killSelf()
	}
	return l.Line.Raise()
}

func killSelf() {
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {}
}

// killRig is the parent's side.
type killRig struct {
	t      *testing.T
	files  []*os.File
	counts counters
	sides  [2]*killSide
}

// killSide is the monitor or the driver.
type killSide struct {
	rig   *killRig
	role  string
	bell  int // rings for it
	kills int
	start int // its counter of starts

	proc *exec.Cmd
	out  *bytes.Buffer
	gone chan struct{}
}

func TestKill(t *testing.T) {
	duration := killTime
	if s := os.Getenv(killDuration); s != "" {
		var err error
		duration, err = time.ParseDuration(s)
		assert.NilError(t, err)
	}
	r := newKillRig(t)
	end := time.Now().Add(duration)
	limit := end.Add(killLimit)
	for time.Now().Before(end) || r.missing() != "" && time.Now().Before(limit) {
		r.pause()
		switch rand.IntN(20) {
		case 0:
			r.progress()
		case 1:
			r.sides[0].kill()
			r.sides[1].kill()
		case 2, 3, 4, 5, 6, 7:
			r.sides[1].kill()
		default:
			r.sides[0].kill()
		}
		for _, s := range r.sides {
			s.revive()
		}
	}
	r.progress()
	t.Logf("%d monitors and %d drivers killed, and some by their own hand; %v", r.sides[0].kills, r.sides[1].kills, r.counts)
	assert.Equal(t, r.missing(), "", "never happened")
}

// missing is something that has to happen for the check to be one.
func (r *killRig) missing() string {
	if emulator.Here() {
		return "" // a process is long in coming: there are few lives, and not everything in them
	}
	for _, i := range []int{countLives, countResets, countQueueResets, countLost, countRefused, countConfigReads} {
		if r.counts.get(i) == 0 {
			return counterNames[i]
		}
	}
	return ""
}

func newKillRig(t *testing.T) *killRig {
	window, err := shmem.NewMemfd("kill-window", killWindow)
	assert.NilError(t, err)
	counts, err := shmem.NewMemfd("kill-counts", 4096)
	assert.NilError(t, err)
	span, err := counts.Span(0, 4096)
	assert.NilError(t, err)
	r := &killRig{t: t, counts: counters{span}, files: []*os.File{window.File(), nil, nil, counts.File()}}
	for i := range 2 {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		assert.NilError(t, err)
		r.files[1+i] = os.NewFile(uintptr(fd), "bell")
		r.sides[i] = &killSide{rig: r, role: []string{"monitor", "driver"}[i], bell: fd, start: countMonitors + i}
	}
	t.Cleanup(func() {
		for _, s := range r.sides {
			s.end()
		}
		for _, f := range r.files {
			_ = f.Close()
		}
	})
	for _, s := range r.sides {
		s.launch()
	}
	return r
}

// pause is the time between two kills: long enough, mostly, for what was started to be at work.
func (r *killRig) pause() {
	time.Sleep(time.Duration(rand.IntN(25_000)) * time.Microsecond)
}

// progress leaves both sides alone until each device has answered requests: an event that was
// lost is not made up for by the next start.
func (r *killRig) progress() {
	r.t.Helper()
	for _, s := range r.sides {
		s.revive()
	}
	want := [2]uint32{r.counts.get(countRequests) + 20, r.counts.get(countRequests+1) + 20}
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		got := [2]uint32{r.counts.get(countRequests), r.counts.get(countRequests + 1)}
		if int32(got[0]-want[0]) >= 0 && int32(got[1]-want[1]) >= 0 {
			return
		}
		for _, s := range r.sides {
			s.revive()
		}
		if time.Since(begun) > stuck {
			r.t.Fatalf("no progress: %d requests, waiting for %d; %v\n%s", got, want, r.counts, r.state())
		}
	}
}

// state is what the pages say.
func (r *killRig) state() string {
	window, err := shmem.OpenFD(dup(r.t, r.files[0]), 0, killWindow, shmem.Normal)
	assert.NilError(r.t, err)
	defer window.Close()
	var all []string
	for i := range uint64(2) {
		page, err := window.Span(killPage(i), 0x1000)
		assert.NilError(r.t, err)
		s := fmt.Sprintf("page %d:", i)
		for _, w := range []struct {
			name string
			off  uint64
		}{{"status", pgStatus}, {"ack", pgAck}, {"result", pgResult}, {"seq", pgSeq}, {"cmd", pgCmd}, {"val", pgVal},
			{"epoch", pgEpoch}, {"state", 0x900}, {"used", pgUsedEvents}, {"seen", pgUsedSeen}, {"config", pgConfigEvents}, {"seen", pgConfigSeen}} {
			s += fmt.Sprintf(" %s %#x", w.name, page.Load32(w.off))
		}
		all = append(all, s)
	}
	return strings.Join(all, "\n")
}

func dup(t *testing.T, f *os.File) *os.File {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	assert.NilError(t, err)
	return os.NewFile(uintptr(fd), f.Name())
}

func (s *killSide) launch() {
	s.rig.t.Helper()
	s.out = new(bytes.Buffer)
	s.proc = emulator.Command(os.Args[0], "-test.run=^TestKillProcess$", "-test.timeout=0")
	s.proc.Env = append(os.Environ(), killRole+"="+s.role, "GOMAXPROCS=2")
	s.proc.ExtraFiles = s.rig.files
	s.proc.Stdout, s.proc.Stderr = io.Discard, s.out
	starts := s.rig.counts.get(s.start)
	assert.NilError(s.rig.t, s.proc.Start())
	proc, gone := s.proc, make(chan struct{})
	s.gone = gone
	go func() {
		_ = proc.Wait()
		close(gone)
	}()
	// Mostly it is at work before it can be killed.
	for rand.IntN(200) > 0 && s.rig.counts.get(s.start) == starts && !s.dead() {
		time.Sleep(200 * time.Microsecond)
	}
}

func (s *killSide) dead() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

func (s *killSide) kill() {
	if s.dead() {
		return // by its own hand
	}
	_ = s.proc.Process.Kill()
	<-s.gone
	s.kills++
}

// end is for good.
func (s *killSide) end() {
	if s.proc != nil {
		_ = s.proc.Process.Kill()
		<-s.gone
	}
}

// revive starts a side that died, whose doorbell may have lost its rings meanwhile.
func (s *killSide) revive() {
	s.rig.t.Helper()
	if !s.dead() {
		return
	}
	if status := s.proc.ProcessState; status.ExitCode() != -1 {
		s.rig.t.Fatalf("%s: %v\n%s\n%v\n%s", s.role, status, s.out, s.rig.counts, s.rig.state())
	}
	if rand.IntN(2) == 0 {
		var b [8]byte
		_, _ = unix.Read(s.bell, b[:])
	}
	s.launch()
}
