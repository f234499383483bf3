package vring_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/emulator"
	"github.com/hypervisorless/virtio/vring"
)

// A litmus is two threads that do one thing each at the same moment, over and over: the device
// stores something and then looks, the driver stores something and then looks. If both looks can
// miss both stores, somebody sleeps for ever.
type litmus struct{ device, driver side }

type side struct {
	prepare func(round int)
	warm    func() // gets the word to be looked at into this CPU's cache: then a look can be early
	act     func() (saw bool)
}

// run counts the rounds in which neither side saw the other.
func (l *litmus) run(t *testing.T, rounds int) (lost int) {
	if runtime.NumCPU() < 2 {
		t.Skip("one CPU shows nothing")
	}
	if emulator.Here() {
		t.Skip("QEMU's user mode lets a load-acquire overtake a store-release, which no arm64 does: plain sync/atomic fails there, too")
	}
	var (
		done sync.WaitGroup
		meet barrier
		saw  [2]bool
	)
	play := func(me int, s *side, after func()) {
		runtime.LockOSThread()
		pin(t, me)
		for round := range rounds {
			s.prepare(round)
			meet.wait(me)
			s.warm()
			meet.wait(me)
			// Sweep through the offsets at which the two may meet.
			for range (round >> (3 * me)) & 7 {
				meet.pause.Load()
			}
			saw[me] = s.act()
			meet.wait(me)
			after()
		}
	}
	done.Go(func() { play(0, &l.device, func() {}) })
	done.Go(func() {
		play(1, &l.driver, func() {
			if !saw[0] && !saw[1] {
				lost++
			}
		})
	})
	done.Wait()
	return lost
}

// barrier is where two threads meet, spinning.
type barrier struct {
	arrived [2]struct {
		n atomic.Uint32
		_ [124]byte
	}
	pause atomic.Uint32
}

func (b *barrier) wait(me int) {
	n := b.arrived[me].n.Add(1)
	for spins := 1; int32(b.arrived[1-me].n.Load()-n) < 0; spins++ {
		relax(spins)
	}
}

// relax is for loops that spin: now and then it lets somebody else have the CPU, who may be the
// one that is waited for.
func relax(spins int) {
	if spins%1024 == 0 {
		runtime.Gosched()
		_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
}

func testLitmus(t *testing.T, eventIdx bool, play func(e *env, l *litmus)) {
	m := newMemory(memfd(t, 1<<16))
	c := vring.Config{Layout: m.Legacy(8, 4096), EventIdx: eventIdx}
	e := newEnv(t, m, c)
	l := litmus{
		device: side{warm: func() { _, _ = e.q.Available() }},
		driver: side{warm: func() { e.r.UsedIdx() }},
	}
	play(e, &l)
	assert.Equal(t, l.run(t, rounds(1_000_000)), 0, "rounds in which both sides went to sleep")
}

// The device publishes and asks whether to notify, while the driver asks for a notification and
// looks for a last time.
func TestRING_20_PublishThenAsk(t *testing.T) {
	for _, tt := range []struct {
		name           string
		eventIdx, show bool
	}{{name: "flags"}, {name: "eventidx", eventIdx: true}, {name: "shown before", show: true}} {
		t.Run(tt.name, func(t *testing.T) {
			testLitmus(t, tt.eventIdx, func(e *env, l *litmus) {
				var (
					c     vring.Chain
					taken uint16
				)
				e.r.Offer(0, 1, 2, 3, 4, 5, 6, 7)
				l.device.prepare = func(int) {
					if ok, err := e.q.Pop(&c); !ok || err != nil {
						panic("no chain")
					}
					e.q.Push(&c)
				}
				l.device.act = func() bool {
					if tt.show {
						if err := e.q.Show(); err != nil {
							panic(err)
						}
					}
					notify, err := e.q.Publish()
					return notify || err != nil
				}
				l.driver.prepare = func(round int) {
					if round > 0 {
						taken++
						e.r.Offer(uint16(round-1) & 7) // it came back in the last round
					}
					if tt.eventIdx {
						e.r.SetUsedEvent(taken - 1)
					} else {
						e.r.SetAvailFlags(vring.AvailNoInterrupt)
					}
				}
				l.driver.act = func() bool {
					if tt.eventIdx {
						e.r.SetUsedEvent(taken)
					} else {
						e.r.SetAvailFlags(0)
					}
					return e.r.UsedIdx() != taken
				}
			})
		})
	}
}

// The device asks for a kick and looks for a last time, while the driver makes a chain available
// and asks whether to kick.
func TestRING_23_ArmThenLook(t *testing.T) {
	for _, tt := range []struct {
		name     string
		eventIdx bool
	}{{"flags", false}, {"eventidx", true}} {
		t.Run(tt.name, func(t *testing.T) {
			testLitmus(t, tt.eventIdx, func(e *env, l *litmus) {
				var c vring.Chain
				l.device.prepare = func(round int) {
					if round == 0 {
						return
					}
					if ok, err := e.q.Pop(&c); !ok || err != nil {
						panic("no chain")
					}
					e.q.Push(&c)
					e.q.Disarm()
					if _, err := e.q.Publish(); err != nil {
						panic(err)
					}
				}
				l.device.act = func() bool {
					pending, err := e.q.Arm()
					return pending || err != nil
				}
				l.driver.prepare = func(int) { e.r.NeedKick(tt.eventIdx) }
				round := uint16(0)
				l.driver.act = func() bool {
					round++
					e.r.Offer(round & 7)
					return e.r.NeedKick(tt.eventIdx)
				}
			})
		})
	}
}
