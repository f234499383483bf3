package mmio

import (
	"fmt"
	"testing"

	"github.com/hypervisorless/virtio/internal/emulator"
	"github.com/hypervisorless/virtio/shmem"
)

// twice is a scenario in which the back-end, gone on, is stopped once more, this time inside the
// window that a plain store leaves open: the m-th after the reboot. The new life goes on there
// for some steps, and at last the back-end stores over whatever it did.
type twice struct {
	scenario
	m    int
	more int // steps of the new life inside the window
	rush int // steps behind it before the back-end looks again; from then on it looks after each
}

func (s twice) String() string {
	return fmt.Sprintf("%v, window %d, %d steps and %d in a rush", s.scenario, s.m, s.more, s.rush)
}

// twiceOutcome says which parts of a scenario could be done.
type twiceOutcome struct {
	outcome
	again, more bool
}

func (s twice) play(t testing.TB, region *shmem.Region) (o twiceOutcome) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("in scenario %v", s)
		}
	}()
	wipe(t, region)
	r := newRig(t, region, func(o *Options) { o.PlainStore = true })
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
		r.goOn()
		return o
	}
	f.boot()
	if o.after = f.walk(s.after); !o.after {
		r.goOn()
		return o
	}
	r.pause(pointReread, s.m)
	r.goOn()
	if !f.untilPause() {
		return o // no such window: the single scenario
	}
	<-r.paused
	o.again = true
	o.more = f.walk(s.more)
	r.goOn()
	if o.more {
		f.settle()
		f.rush(s.rush)
		f.rest()
		f.more()
	}
	return o
}

// rush does n steps of stores and then goes on with a ring behind every step, as far as nothing has
// to be waited for.
func (f *frontEnd) rush(n int) {
	for f.pc < len(f.steps) && f.advance() {
		if n--; n < 0 {
			f.line.kick()
			f.settle()
		}
	}
}

// found are scenarios in which the product found a queue lost: acknowledged as another one's, or
// with the size that stood there from the life before.
var found = []twice{
	{scenario{zephyr2021, pointGPS, 8, 0, 9}, 1, 4, 0},
	{scenario{virtioExp, pointAcked, 1, 5, 9}, 1, 3, 0},
	{scenario{virtioExp, pointIdle, 5, 6, 9}, 1, 3, 4},
}

func TestT21_FoundByTheProduct(t *testing.T) {
	region := newRegion(t)
	for _, s := range found {
		came := false
		for range 20 { // whether the back-end looks in between is chance
			came = s.play(t, region).more || came
		}
		if !came {
			t.Errorf("%v: no longer comes to the window", s)
		}
	}
}

// The product: where the back-end stands when the driver dies, how far each life has come, and how
// far the new one comes inside each window after it. All of the last two is tried for one in
// stride of the others.
func TestT21_RebootAndThenAPlainStore(t *testing.T) {
	stride := 4
	if raceEnabled || emulator.Here() {
		stride = 32
	}
	perDialect(t, func(t *testing.T, d dialect) {
		region := newRegion(t)
		played := 0
		// windows plays every m and more, or only the first, and adds up what could be done.
		windows := func(s scenario, all bool) (sum twiceOutcome) {
			for m, again := 1, true; again; m++ {
				again = false
				for more, inside := 0, true; inside; more++ {
					o := twice{s, m, more, played % 7}.play(t, region)
					sum.reached, sum.before, sum.after = sum.reached || o.reached, sum.before || o.before, sum.after || o.after
					again, inside = all && o.again, all && o.more
					if o.more {
						played++
					}
				}
			}
			return sum
		}
		for p := pointWoken; p <= pointMemory; p++ {
			for n, reached := 1, true; reached; n++ {
				reached = false
				for before, walked := 0, true; walked; before++ {
					walked = false
					for after, walkedOn := 0, true; walkedOn; after++ {
						o := windows(scenario{d, p, n, before, after}, (n+before+after)%stride == 0)
						reached, walked, walkedOn = reached || o.reached, walked || o.before, o.after
					}
				}
			}
		}
		t.Logf("%d scenarios", played)
	})
}
