package main

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

// echoed attaches somebody to the console who sends back what he gets, until the test ends.
func (r *room) echoed() {
	r.tb.Helper()
	conn, err := net.Dial("unix", r.path("console"))
	assert.NilError(r.tb, err)
	r.tb.Cleanup(func() { conn.Close() })
	go io.Copy(conn, conn)
}

// everything is one of each thing that a front-end in C can do.
var everything = []string{"rng", "9", "100", "rng", "4096", "5", "flood", "200", "print", "hello", "expect", "hello", "echo", "5000"}

func TestServesFrontEndInC(t *testing.T) {
	for _, mode := range []struct {
		name  string
		flags []string
	}{
		{"asleep", nil},
		{"spinning", []string{"-spin", "1ms"}},
		{"plain stores", []string{"-plain-store"}},
		{"all ring features offered", []string{"-offer", "event-idx,indirect"}},
	} {
		t.Run(mode.name, func(t *testing.T) {
			r := newRoom(t)
			m := r.monitor(mode.flags...)
			r.echoed()
			for _, dialect := range dialects {
				t.Run(dialect, func(t *testing.T) {
					r.in(t).twin(dialect, everything...).ends(twinDone)
					r.in(t).twin(dialect, append([]string{"-num", "128"}, everything...)...).ends(twinDone)
				})
			}
			m.stop()
		})
	}
}

// in is the room for a subtest.
func (r *room) in(t *testing.T) *room {
	sub := *r
	sub.tb = t
	return &sub
}

func TestMergedDoorbells(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			r := newRoom(t)
			m := r.monitor()
			r.echoed()
			p := r.proxy()
			r.twinAt(r.path("proxy"), dialect, everything...).ends(twinDone)
			m.stop()
			p.mu.Lock()
			defer p.mu.Unlock()
			assert.Check(t, p.to < p.fromFront, "%d rings went on as %d: nothing merged", p.fromFront, p.to)
		})
	}
}

// A front-end that dies after any one of its stores, or doorbells, is followed by one that is
// served.
func TestFrontEndDiesAtEveryStep(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t)
			m := r.monitor()
			r.echoed()
			work := []string{"rng", "9", "3", "print", "again", "expect", "again"}
			steps := r.twinSteps(dialect, work...)
			assert.Check(t, len(steps) > 60, "%q", steps)
			for i, step := range steps {
				dead := r.twin(dialect, append([]string{"-die-after", step}, work...)...)
				if status := dead.wait(); status != twinDied {
					// Whether there is more to receive, or to acknowledge, is a matter of timing.
					assert.Equal(t, status, twinAlive, "%v\n%s%s", dead.cmd.Args, dead.out, dead.log)
					assert.Check(t, strings.Contains(step, "refill") || strings.Contains(step, "israck"), step)
				}
				next := work
				if i%2 == 1 { // rings that are as the dead one left them
					next = append([]string{"-noload"}, work...)
				}
				p := r.twin(dialect, next...)
				assert.Equal(t, p.wait(), twinDone, "after a death at %s\n%s%s%s", step, p.out, p.log, m.log)
			}
			m.stop()
		})
	}
}

var hostile = []string{
	"badhead", "badnext", "loop", "repeat", "jump", "back", "outside", "below", "straddle", "wrap", "hugelen",
	"zerolen", "indirect", "direction", "ownring", "regs", "garbage",
}

// A front-end that attacks one device is served by the other meanwhile, and the next one by
// both.
func TestHostileFrontEnd(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t)
			m := r.monitor()
			r.echoed()
			for _, attack := range hostile {
				for _, run := range [][]string{
					{"print", "first", "hostile", attack, "print", "meanwhile", "expect", "meanwhile"},
					{"rng", "9", "1", "hostile", "console:" + attack, "rng", "9", "3"},
				} {
					if attack == "regs" {
						// A device whose registers are garbage has restarted, and the other with it.
						run = run[:slices.Index(run, "hostile")+2]
					}
					r.twin(dialect, run...).ends(twinDone)
					p := r.twin(dialect, "rng", "9", "3", "print", "after", "expect", "after")
					assert.Equal(t, p.wait(), twinDone, "after %s\n%s%s%s", run, p.out, p.log, m.log)
				}
			}
			m.stop()
		})
	}
}

// The monitor is killed and another started, again and again, under a front-end that goes on.
func TestMonitorDiesUnderLiveFrontEnd(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			r := newRoom(t)
			m := r.monitor()
			p := r.proxy()
			f := r.twinAt(r.path("proxy"), dialect, "rng", "9", "600", "rng", "64", "100")
			for i := range 3 {
				p.await(200 * (i + 1))
				m.kill()
				m = r.monitor()
				assert.Check(t, is.Contains(m.log.String(), "taken over"))
				p.connect()
			}
			f.ends(twinDone)
			assert.Check(t, is.Contains(f.out.String(), fmt.Sprintf("rng ok %d %d", 64, 100)))
			m.stop()
		})
	}
}
