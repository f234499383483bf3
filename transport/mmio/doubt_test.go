package mmio

import (
	"strings"
	"testing"
)

// image is a front-end that brings up several devices one after the other, with one interrupt
// handler for those it has brought up since it booted.
type image struct {
	*rig
	devices []*frontEnd
	current int
}

func newImage(r *rig, d dialect, slots ...int) *image {
	im := &image{rig: r}
	for _, s := range slots {
		im.devices = append(im.devices, newFrontEnd(r, d, s))
	}
	return im
}

// handle is the interrupt handler, if there was an interrupt.
func (im *image) handle() bool {
	select {
	case <-im.line.out.c:
	default:
		return false
	}
	for _, f := range im.devices[:im.current+1] {
		f.interrupt()
	}
	return true
}

// run does up to n steps of the boot and says whether it got that far.
func (im *image) run(n int) bool {
	im.t.Helper()
	for ; n > 0; n-- {
		if im.current == len(im.devices)-1 && im.devices[im.current].pc == len(im.devices[im.current].steps) {
			return false
		}
		f := im.devices[im.current]
		if f.pc == len(f.steps) {
			im.current++
			f = im.devices[im.current]
		}
		im.until("step "+f.steps[f.pc].name, func() bool {
			if f.advance() {
				return true
			}
			im.handle()
			return f.advance()
		})
		im.settle()
	}
	return true
}

// works asks each device for something once more.
func (im *image) works() {
	im.t.Helper()
	for _, f := range im.devices {
		for q := range f.pages {
			f.offer(q)
			f.line.kick()
			im.until("an answer of "+im.bus.slots[f.slot].name, func() bool {
				im.handle()
				return f.seen[q] == f.sub[q]
			})
		}
	}
}

const wholeBoot = 1 << 20

// A front-end whose first boot reached one device only and whose later boots bring up another
// one before it loses neither.
func TestT20_EarlierSlotOpenedLater(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		r := newRig(t, newRegion(t), nil, &toy{queues: 1, id: 0x4001}, &toy{queues: 2, id: 0x4002}).start()
		newImage(r, d, 1).run(wholeBoot)
		for range 4 {
			im := newImage(r, d, 0, 1)
			im.run(wholeBoot)
			im.works()
		}
		if n := strings.Count(r.log.String(), "going on"); n == 0 {
			t.Error("nothing was ever in doubt: the test is void")
		}
	})
}

// A crash at any step of bringing up two devices leaves nothing behind that a later boot, of
// one device or of both, in either order, would suffer from.
func TestT20_CrashAnywhereInTwoDevices(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		region := newRegion(t)
		for _, order := range [][]int{{0, 1}, {1, 0}, {1}} {
			for n := 1; ; n++ {
				r := newRig(t, region, func(o *Options) { o.Wipe = true }, &toy{queues: 1, id: 0x4001}, &toy{queues: 1, id: 0x4002}).start()
				whole := newImage(r, d, order...)
				more := whole.run(n)
				for _, next := range [][]int{{0, 1}, {0, 1}, {1, 0}} {
					im := newImage(r, d, next...)
					im.run(wholeBoot)
					im.works()
				}
				r.stop()
				if t.Failed() {
					t.Fatalf("first boot %v died after %d steps", order, n)
				}
				if !more || testing.Short() && n > 8 {
					break
				}
			}
		}
	})
}

// A canary that goes and comes back before the scan looks has still shut the queue that saw it
// out: the session ends, and the next one is served.
func TestCanaryThatComesBack(t *testing.T) {
	f := live(t, virtioExp)
	f.put(RegGuestPageSize, PageSize)
	if f.bus.slots[0].standing() {
		t.Fatal("an access is let in although the canary is gone")
	}
	f.put(RegGuestPageSize, sentinel)
	f.line.kick()
	f.until("the session's end", func() bool { return f.toys[0].ended.Load() == 1 })
	f.boot()
	f.rest()
	f.more()
}
