package driver_test

import (
	"runtime"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/internal/emulator"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// Two threads meet, over and over: each stores something and then looks whether the other has
// stored. If both can miss it, driver and device sleep for ever.

// meeting is where two threads wait for each other, spinning.
type meeting struct {
	arrived [2]struct {
		n atomic.Uint32
		_ [124]byte
	}
	pause atomic.Uint32
}

func (m *meeting) wait(me int) {
	n := m.arrived[me].n.Add(1)
	for spins := 1; int32(m.arrived[1-me].n.Load()-n) < 0; spins++ {
		if spins%1024 == 0 {
			runtime.Gosched()
		}
	}
}

// party is one thread of a litmus: prepare comes before the two meet, look brings the word it
// will look at into its cache, and act stores and says whether it saw the other.
type party struct {
	prepare func(round int)
	look    func()
	act     func() bool
}

// missed counts the rounds in which neither saw the other.
func missed(t *testing.T, parties [2]party) (n int) {
	t.Helper()
	if min(runtime.NumCPU(), runtime.GOMAXPROCS(0)) < 2 {
		t.Skip("one CPU shows nothing")
	}
	if emulator.Here() {
		t.Skip("QEMU's user mode lets a load-acquire overtake a store-release, which no arm64 does")
	}
	var m meeting
	var saw [2]bool
	play := func(me int, after func()) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for round := range 300_000 {
			parties[me].prepare(round)
			m.wait(me)
			parties[me].look()
			m.wait(me)
			for range (round >> (3 * me)) & 7 { // sweep through the ways in which they can meet
				m.pause.Load()
			}
			saw[me] = parties[me].act()
			m.wait(me)
			after()
		}
	}
	over := make(chan struct{})
	go func() {
		play(0, func() {})
		close(over)
	}()
	play(1, func() {
		if !saw[0] && !saw[1] {
			n++
		}
	})
	<-over
	return n
}

// litmusRing is a ring that the race detector does not look at.
func litmusRing(t *testing.T, eventIdx bool) (*driver.Ring, *usedRing) {
	t.Helper()
	region, err := shmem.NewMemfd("litmus", 1<<13)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, region.Close()) })
	space, err := shmem.NewSpace(shmem.Window{Region: region})
	assert.NilError(t, err)
	mem, err := region.Span(0, region.Size())
	assert.NilError(t, err)
	l := vring.Legacy(0, 8, 4096)
	r, err := driver.NewRing(space, l, 0, eventIdx)
	assert.NilError(t, err)
	return r, &usedRing{mem: mem, l: l}
}

// The driver makes a chain available and asks whether to kick, while the device asks for a kick
// and looks for a last time.
func TestLitmus_Publish(t *testing.T) {
	for _, eventIdx := range []bool{false, true} {
		r, dev := litmusRing(t, eventIdx)
		var fence shmem.Fence
		var seen uint16
		event := dev.l.Used + 4 + 8*8
		front := party{
			prepare: func(round int) {
				for ok := round == 0; !ok; {
					_, _, ok, _ = r.Get() // comes with the device's preparation
				}
				if _, err := r.Add(segments(1)); err != nil {
					panic(err)
				}
			},
			look: func() { dev.mem.Load16(dev.l.Used); dev.mem.Load16(event) },
			act:  r.Publish,
		}
		back := party{
			prepare: func(round int) {
				if seen = uint16(round); round > 0 {
					dev.use(uint32(dev.head(seen-1)), 0)
				}
				dev.mem.Store16Plain(event, seen-1)
				dev.show(vring.UsedNoNotify)
			},
			look: func() { dev.availIdx() },
			act: func() bool {
				if eventIdx {
					dev.mem.Store16Plain(event, seen)
					fence.StoreLoad()
				} else {
					dev.show(0)
				}
				return dev.availIdx() != seen
			},
		}
		lost := missed(t, [2]party{front, back})
		assert.Equal(t, lost, 0, "rounds in which both went to sleep, event index %v", eventIdx)
	}
}

// The driver asks for an interrupt and looks for a last time, while the device uses a chain and
// asks whether to interrupt.
func TestLitmus_Arm(t *testing.T) {
	for _, eventIdx := range []bool{false, true} {
		r, dev := litmusRing(t, eventIdx)
		event := dev.l.Avail + 4 + 2*8
		front := party{
			prepare: func(round int) {
				if round > 0 {
					if _, _, ok, err := r.Get(); !ok {
						panic(err)
					}
				}
				if _, err := r.Add(segments(1)); err != nil {
					panic(err)
				}
				r.Disarm()
				r.Publish()
			},
			look: func() { dev.mem.Load16(dev.l.Used + 2) },
			act:  r.Arm,
		}
		back := party{
			prepare: func(round int) {
				for dev.availIdx() == uint16(round) { // comes with the driver's preparation
				}
				dev.use(uint32(dev.head(uint16(round))), 0)
			},
			look: func() { dev.mem.Load16(dev.l.Avail); dev.mem.Load16(event) },
			act: func() bool {
				dev.show(0)
				if eventIdx {
					return dev.mem.Load16(event) == dev.idx-1
				}
				return dev.mem.Load16(dev.l.Avail)&vring.AvailNoInterrupt == 0
			},
		}
		lost := missed(t, [2]party{front, back})
		assert.Equal(t, lost, 0, "rounds in which both went to sleep, event index %v", eventIdx)
	}
}
