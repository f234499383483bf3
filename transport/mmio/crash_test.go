package mmio

import (
	"fmt"
	"testing"

	"github.com/hypervisorless/virtio/shmem"
)

// scenario is one run of the model's search in miniature: the back-end is stopped at the n-th
// passing of a point, the driver goes on for some steps, dies, boots again, does some steps of
// its new life, and the back-end goes on from where it was.
type scenario struct {
	dialect dialect
	at      point
	n       int
	before  int // steps of the old life while the back-end stands
	after   int // steps of the new life while it stands
}

func (s scenario) String() string {
	return fmt.Sprintf("%v point %d passing %d, %d steps, crash, %d steps", s.dialect, s.at, s.n, s.before, s.after)
}

// outcome says which parts of a scenario could be done, to bound the enumeration.
type outcome struct{ reached, before, after bool }

func (s scenario) play(t testing.TB, region *shmem.Region, change func(*Options), image func(*frontEnd)) (o outcome) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("in scenario %v", s)
		}
	}()
	wipe(t, region)
	r := newRig(t, region, change)
	r.pause(s.at, s.n)
	r.start()
	defer r.stop()
	f := newFrontEnd(r, s.dialect, 0)

	if !f.untilPause() {
		return o
	}
	<-r.paused
	o.reached = true
	if o.before = f.walk(s.before); !o.before {
		return o.resume(r)
	}
	if image != nil {
		image(f)
	}
	f.boot()
	if o.after = f.walk(s.after); !o.after {
		return o.resume(r)
	}
	r.goOn()
	f.rest()
	f.more()
	return o
}

// untilPause runs in lock step up to the pause; false when the end comes before.
func (f *frontEnd) untilPause() bool {
	for f.pc < len(f.steps) && !f.held.Load() {
		if f.advance() {
			f.rig.settle()
		} else {
			f.sleepOrPause()
		}
	}
	return f.held.Load()
}

func (o outcome) resume(r *rig) outcome {
	r.goOn()
	return o
}

// walk does n steps without the back-end; false when the driver has to wait for it before.
func (f *frontEnd) walk(n int) bool {
	for range n {
		if f.pc == len(f.steps) {
			return false
		}
		if f.advance() {
			continue
		}
		select {
		case <-f.line.out.c:
			f.interrupt()
		default:
		}
		if !f.advance() {
			return false
		}
	}
	return true
}

// sleepOrPause waits for an interrupt, or for the pause.
func (f *frontEnd) sleepOrPause() {
	select {
	case <-f.line.out.c:
		f.interrupt()
		f.settle()
	case <-f.paused:
		f.held.Store(true)
		go func() { f.paused <- struct{}{} }() // for the one who plays the scenario
	}
}

// every plays all scenarios of a dialect at a point.
func every(t *testing.T, d dialect, p point, change func(*Options), image func(*frontEnd)) (played int) {
	region := newRegion(t)
	for n := 1; ; n++ {
		if testing.Short() && n > 4 {
			return played
		}
		for before := 0; ; before++ {
			var o outcome
			for after := 0; ; after++ {
				s := scenario{d, p, n, before, after}
				o = s.play(t, region, change, image)
				if !o.after {
					break
				}
				played++
			}
			if !o.reached {
				return played
			}
			if !o.before {
				break
			}
		}
	}
}

func TestT18_CrashAnywhere(t *testing.T) {
	for _, d := range dialects {
		for p := pointWoken; p <= pointMemory; p++ {
			if p == pointReread {
				continue // plain stores only: T21
			}
			t.Run(fmt.Sprintf("%v/point%d", d, p), func(t *testing.T) {
				if played := every(t, d, p, nil, nil); played == 0 {
					t.Errorf("no scenario was played")
				} else {
					t.Logf("%d scenarios", played)
				}
			})
		}
	}
}
