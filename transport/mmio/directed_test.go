package mmio

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// The directed tests of the restart and interrupt rules, each a history that broke an earlier
// form of them (docs/protocol.md, "What a back-end must survive").

func perDialect(t *testing.T, run func(t *testing.T, d dialect)) {
	for _, d := range dialects {
		if !t.Run(d.String(), func(t *testing.T) { run(t, d) }) {
			return // the others would only take their time to fail
		}
	}
}

// first is t.Run, unless a sister test failed already.
func first(t *testing.T, name string, run func(t *testing.T)) {
	if !t.Failed() {
		t.Run(name, run)
	}
}

// live starts a bus and a driver and brings it to where it has all its answers.
func live(t *testing.T, d dialect, toys ...*toy) *frontEnd {
	t.Helper()
	f := newFrontEnd(newRig(t, newRegion(t), nil, toys...).start(), d, 0)
	f.rest()
	f.quiesce()
	return f
}

// quiesce takes interrupts until the bus sleeps and no ring is left.
func (f *frontEnd) quiesce() {
	for {
		f.settle()
		select {
		case <-f.line.out.c:
			f.interrupt()
		default:
			return
		}
	}
}

// until waits for something the back-end does on its own; it fails the test after a long time.
func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	for began := time.Now(); !cond(); time.Sleep(100 * time.Microsecond) {
		if time.Since(began) > hang {
			r.t.Fatalf("never happened: %s; log:\n%s", what, r.log)
		}
	}
}

func (f *frontEnd) usedIdx(q int) uint16 { return f.mem.Load16(f.layout(q).Used + 2) }

func TestT01_StaleAckOfAnOlderInterrupt(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		f := live(t, d)
		complete := func() {
			f.offer(0)
			f.line.kick()
			f.until("a completion", func() bool { return f.usedIdx(0) == f.sub[0] })
			f.until("its interrupt", func() bool { return f.get(RegInterruptStatus) == 1 })
			f.settle()
		}
		complete()
		// A handler has run its callbacks and acknowledges.
		f.callbacks()
		f.put(RegInterruptACK, 1)
		// Another interrupt, of whatever device: its handler reads the status, runs its callbacks ...
		is := f.get(RegInterruptStatus)
		f.callbacks()
		// ... the device sees the first acknowledgement, and the next completion is published ...
		f.line.kick()
		f.settle()
		complete()
		// ... and only then comes the second one, of what it had read.
		f.put(RegInterruptACK, is)
		f.line.kick()
		f.settle()
		f.interrupt()
		if f.seen[0] != f.sub[0] {
			t.Errorf("handler saw %d of %d completions: interrupt lost", f.seen[0], f.sub[0])
		}
	})
}

func TestT02_AckOverwrittenByZero(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		f := live(t, d)
		f.pause(pointWoken, 1)
		f.put(RegInterruptACK, 1)
		f.line.kick()
		f.awaitPause()
		f.put(RegInterruptACK, 0)
		f.goOn()
		f.more()
	})
}

func TestT03_KickMergedWithAck(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		f := live(t, d)
		f.put(RegInterruptACK, 1)
		f.offer(0)
		f.offer(1)
		f.line.kick()
		f.until("both requests served", func() bool { return f.usedIdx(0) == f.sub[0] && f.usedIdx(1) == f.sub[1] })
	})
}

func TestT04_DoorbellAtTheEdges(t *testing.T) {
	for _, p := range []point{pointWoken, pointIdle} {
		t.Run(fmt.Sprintf("point%d", p), func(t *testing.T) {
			f := live(t, virtioExp)
			f.pause(p, 1)
			f.line.kick()
			f.awaitPause()
			f.offer(0)
			f.line.kick()
			f.goOn()
			f.until("the request served", func() bool { return f.usedIdx(0) == f.sub[0] })
		})
	}
}

func TestT05_RebootAfterStatusWasRead(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		r := newRig(t, newRegion(t), nil, &toy{queues: 1, id: 0x4001}).start()
		f := newFrontEnd(r, d, 0)
		f.run("Status=4")
		f.settle()
		r.pause(pointStatus, 1)
		f.advance() // Status=4
		f.advance() // ring
		r.awaitPause()
		f.walk(2) // live: offers
		f.boot()
		f.walk(stepIndex(f, "ack 0"))
		r.goOn()
		f.rest()
		f.more()
	})
}

// stepIndex is how many steps come before the one named.
func stepIndex(f *frontEnd, name string) int {
	for i, s := range f.steps {
		if s.name == name {
			return i
		}
	}
	f.t.Fatalf("no step %q", name)
	return 0
}

func TestT06_RebootBetweenRequestAndCanary(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		for _, upTo := range []string{"QueueNum 0", "ack 0"} {
			first(t, upTo, func(t *testing.T) {
				r := newRig(t, newRegion(t), nil).start()
				f := newFrontEnd(r, d, 0)
				f.run("QueuePFN 1")
				f.settle()
				r.pause(pointPFN, 1)
				f.advance()
				f.advance() // ring
				r.awaitPause()
				f.boot()
				f.walk(stepIndex(f, upTo))
				r.goOn()
				f.rest()
				f.more()
			})
		}
	})
}

func TestT07_RebootBetweenSentinelAndAck(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		for q := 1; q <= 2; q++ {
			for _, upTo := range []string{"Status=2", "QueueNum 0", "QueueAlign 0", "QueuePFN 0", "ack 0"} {
				first(t, fmt.Sprintf("q%d/%s", q-1, upTo), func(t *testing.T) {
					r := newRig(t, newRegion(t), nil)
					r.pause(pointPoison, q)
					r.start()
					f := newFrontEnd(r, d, 0)
					f.run(fmt.Sprintf("ack %d", q-1))
					r.awaitPause()
					f.boot()
					f.walk(stepIndex(f, upTo))
					r.goOn()
					f.rest()
					f.more()
				})
			}
		}
	})
}

// The acknowledgement of a dead request is the live one's: the value is the same.
func TestT08_RebootBetweenAckAndSecondLook(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		for _, tt := range []struct {
			queues int
			upTo   []string
		}{
			{2, []string{"ack 0", "QueueSel=1", "QueueAlign 1", "QueuePFN 1", "ack 1"}},
			{1, []string{"ack 0", "Status=4", "offer 0", "answer 0"}},
		} {
			for _, upTo := range tt.upTo {
				first(t, fmt.Sprintf("%d queues/%s", tt.queues, upTo), func(t *testing.T) {
					r := newRig(t, newRegion(t), nil, &toy{queues: tt.queues, id: 0x4001})
					r.pause(pointPoison, 1)
					r.start()
					f := newFrontEnd(r, d, 0)
					f.run("ack 0")
					r.awaitPause()
					f.boot()
					f.walk(stepIndex(f, "ack 0"))
					r.pause(pointAcked, 1)
					r.goOn()
					r.awaitPause()
					f.walk(stepIndex(f, upTo) - f.pc)
					r.goOn()
					f.rest()
					f.more()
				})
			}
		}
	})
}

func TestT09_SlowRebootOverFreshAlign(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		r := newRig(t, newRegion(t), nil).start()
		f := newFrontEnd(r, d, 0)
		f.run("QueuePFN 1") // QueueAlign of queue 1 is stored, QueuePFN is queue 0's
		f.boot()
		for f.pc < len(f.steps) {
			f.line.kick()
			f.settle()
			if !f.advance() {
				f.sleep()
			}
		}
		f.verify()
		if r.bus.slots[0].queues[0].num != uint32(f.nums[0]) {
			t.Errorf("queue 0 was configured with %d entries, want %d", r.bus.slots[0].queues[0].num, f.nums[0])
		}
	})
}

// The same, and the driver is slow to get to its first queue: what stands there is taken for a
// request after a while, wrongly, and that is mended.
func TestT09_VerySlowReboot(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		r := newRig(t, newRegion(t), nil).start()
		f := newFrontEnd(r, d, 0)
		f.run("QueuePFN 1")
		f.put(RegQueuePFN, f.pfn(0)) // as after a rewrite, in this dialect or not
		f.boot()
		f.run("QueueSel=0")
		f.settle()
		r.until("the leftover to be taken for a request", func() bool { return f.get(RegQueuePFN) == QueueAck })
		f.rest()
		f.more()
	})
}

// A driver of an unknown make that stores neither canary is served, and its restart shows in
// Status alone.
func TestT09_NoCanaries(t *testing.T) {
	r := newRig(t, newRegion(t), nil, &toy{queues: 1, id: 0x4001}).start()
	f := newFrontEnd(r, zephyr2021, 0)
	for range 3 {
		f.boot()
		for _, v := range []uint32{0, 1, 3} {
			f.put(RegStatus, v)
			f.line.kick()
			f.settle()
		}
		f.put(RegQueueSel, 0)
		f.put(RegQueueNum, uint32(f.nums[0]))
		f.put(RegQueuePFN, f.pfn(0))
		f.line.kick()
		r.until("the acknowledgement", func() bool { return f.get(RegQueuePFN) == QueueAck })
		f.acked[0] = true
		f.put(RegStatus, 7)
		f.line.kick()
		f.more()
	}
}

func TestT10_TornSnapshotOfTheNextRequest(t *testing.T) {
	for _, d := range []dialect{virtioExp, v2025} {
		t.Run(d.String(), func(t *testing.T) {
			r := newRig(t, newRegion(t), nil).start()
			f := newFrontEnd(r, d, 0)
			f.run("QueueSel=1")
			f.settle()
			f.put(RegQueuePFN, f.pfn(0)) // the rewrite, in case it was acknowledged again
			r.pause(pointSel, 1)
			f.line.kick()
			r.awaitPause()
			f.advance() // QueueSel=1
			f.advance() // QueueNum 1
			r.goOn()
			f.settle()
			if n := r.bus.slots[0].queues[0].num; n != uint32(f.nums[0]) {
				t.Errorf("queue 0 has %d entries now, want %d", n, f.nums[0])
			}
			f.rest()
			f.more()
		})
	}
}

func TestT11_RewriteOfALiveQueueStays(t *testing.T) {
	for _, d := range []dialect{virtioExp, v2025} {
		t.Run(d.String(), func(t *testing.T) {
			f := live(t, d)
			f.put(RegQueuePFN, f.pfn(1))
			f.line.kick()
			f.settle()
			if pfn := f.get(RegQueuePFN); pfn != f.pfn(1) {
				t.Errorf("QueuePFN is %#x: a queue in use was acknowledged again", pfn)
			}
			f.more()
		})
	}
}

func TestT12_DeadRequestAckedUnderTheLiveOne(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		r := newRig(t, newRegion(t), nil)
		r.pause(pointWoken, 1)
		r.start()
		r.awaitPause()
		f := newFrontEnd(r, d, 0)
		f.run("ack 0") // asked, never looked at
		f.boot()
		f.walk(stepIndex(f, "QueuePFN 0"))
		r.goOn()
		f.settle()
		if f.get(RegQueuePFN) != QueueAck {
			t.Fatal("the dead request was not acknowledged: the test is void")
		}
		for len(f.line.out.c) > 0 {
			<-f.line.out.c
		}
		rung := f.line.out.rung.Load()
		f.advance() // QueuePFN 0
		f.advance() // ring
		f.until("the acknowledgement of the live request", func() bool { return f.get(RegQueuePFN) == QueueAck })
		f.settle()
		if n := f.line.out.rung.Load() - rung; n != 0 {
			t.Errorf("%d interrupts for an acknowledgement that looks like a rewrite's, want none", n)
		}
		f.rest()
		f.more()
	})
}

func TestT13_RebootWithStatusSevenThroughout(t *testing.T) {
	f := live(t, v2025)
	for range 2 {
		f.boot()
		f.rest()
		f.more()
		f.quiesce()
	}
}

func TestT14_StaleAckOverAReboot(t *testing.T) {
	f := live(t, zephyr2021)
	if f.get(RegQueuePFN) != QueueAck {
		t.Fatal("QueuePFN does not hold the acknowledgement: the test is void")
	}
	f.boot()
	f.rest()
	f.more()
	if n := f.bus.Stats()[0].Refusals; n != 0 {
		t.Errorf("the acknowledgement was taken for a request %d times", n)
	}
}

func TestT15_RingsThatSurviveAReboot(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		f := newFrontEnd(newRig(t, newRegion(t), nil).start(), d, 0)
		f.nums = []uint16{8, 8} // an index left in a smaller ring looks like one that jumped
		f.boot()
		f.rest()
		for range 4 {
			f.more()
		}
		f.quiesce()
		if f.usedIdx(0) != 5 {
			t.Fatalf("used index %d, want 5: the test is void", f.usedIdx(0))
		}
		f.noload = true
		f.boot()
		f.rest()
		f.more()
	})
}

func TestT16_RingsZeroedUnderALiveDevice(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		f := live(t, d)
		f.more()
		f.quiesce()
		l := f.layout(0)
		f.mem.Zero(l.Avail, 4)
		f.mem.Zero(l.Used, 4)
		rung := f.line.out.rung.Load()
		for range 3 {
			f.line.kick()
			f.settle()
		}
		if n := f.line.out.rung.Load(); n != rung {
			t.Errorf("%d interrupts from a suspended queue", n-rung)
		}
		for range 100 { // by then the first queue's worker has had a look, too
			f.offer(1)
			f.line.kick()
			f.until("the other queue goes on", func() bool { return f.usedIdx(1) == f.sub[1] })
		}
		if used := f.usedIdx(0); used != 0 {
			t.Errorf("used index %d: the device wrote into a ring that is being rebuilt", used)
		}
		f.boot()
		f.rest()
		f.more()
	})
}

func TestT17_RebootWithAWorkerInsideARequest(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		inside, leave := make(chan struct{}), make(chan struct{})
		blocked := false
		dev := &toy{queues: 1, id: 0x4001}
		dev.handle = func(int, *vring.Chain) {
			if !blocked {
				blocked = true
				close(inside)
				<-leave
			}
		}
		f := newFrontEnd(newRig(t, newRegion(t), nil, dev).start(), d, 0)
		f.run("answer 0")
		<-inside
		f.boot()
		for !f.steps[f.pc].poll {
			f.advance()
			f.settle()
		}
		if f.advance() {
			t.Fatal("acknowledged while the old session's worker is inside a request")
		}
		close(leave)
		f.run("offer 0")
		if used := f.usedIdx(0); used != 0 {
			t.Errorf("used index %d: the old session completed into the new one's ring", used)
		}
		f.rest()
		f.more()
	})
}

func TestT19_RebootWithOtherRings(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		played := 0
		for p := pointWoken; p <= pointMemory; p++ {
			if p != pointReread {
				played += every(t, d, p, nil, func(f *frontEnd) {
					for i := range f.pages {
						f.pages[i] += 8
						f.nums[i] *= 2
					}
				})
			}
		}
		t.Logf("%d scenarios", played)
	})
}

// Another image may use the same page with another size: QueuePFN alone does not tell.
func TestT19_RebootWithOtherSizeOnTheSamePage(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		for queues := 1; queues <= 2; queues++ {
			f := live(t, d, &toy{queues: queues, id: 0x4001})
			for i := range f.nums {
				f.nums[i] *= 4
			}
			f.boot()
			f.rest()
			f.more()
		}
	})
}

func TestT20_RebootEndsTheNeighboursSession(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		a := &toy{queues: 1, id: 0x4001}
		b := &toy{queues: 1, id: 0x4002}
		r := newRig(t, newRegion(t), nil, a, b).start()
		fa, fb := newFrontEnd(r, d, 0), newFrontEnd(r, d, 1)
		fa.rest()
		fb.rest()
		fb.quiesce()
		r.pauseDev.Store(1)
		r.pause(pointMemory, 1) // of the neighbour's worker: it is about to touch memory
		fb.offer(0)
		r.line.kick()
		r.awaitPause()
		fa.boot()
		fa.walk(stepIndex(fa, "ack 0"))
		r.until("the end of the first session", func() bool { return r.bus.slots[0].dev.Quiet() })
		r.sleepsNow()
		if fa.steps[fa.pc].do() {
			t.Fatal("acknowledged while a worker of the neighbour is inside the driver's memory")
		}
		r.goOn()
		fa.rest()
		r.until("the end of the neighbour's session", func() bool { return b.ended.Load() == 1 })
		fb.boot()
		fb.rest()
		fb.more()
		fa.more()
	})
}

// sleepsNow waits until the bus sleeps, a pause of a worker notwithstanding.
func (r *rig) sleepsNow() { r.line.settle(func() bool { return false }) }

// A backend that does not come back holds up its own device, not the neighbour: nothing of it
// can touch memory any more.
func TestT20_StuckBackendAndItsNeighbour(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		inside, leave := make(chan struct{}), make(chan struct{})
		blocked := false
		a := &toy{queues: 1, id: 0x4001}
		b := &toy{queues: 1, id: 0x4002, handle: func(int, *vring.Chain) {
			if !blocked {
				blocked = true
				close(inside)
				<-leave
			}
		}}
		r := newRig(t, newRegion(t), nil, a, b).start()
		fa, fb := newFrontEnd(r, d, 0), newFrontEnd(r, d, 1)
		fa.rest()
		fb.run("answer 0")
		<-inside
		fa.boot()
		fa.rest()
		fa.more()
		fb.boot()
		fb.walk(stepIndex(fb, "ack 0"))
		r.sleepsNow()
		if fb.steps[fb.pc].do() {
			t.Fatal("acknowledged while the device's own backend is at the request before")
		}
		close(leave)
		fb.rest()
		fb.more()
		fa.more()
	})
}

// A restart that shows only at the look after an acknowledgement ends the neighbours' sessions
// as any other does.
func TestT20_LateNoticeEndsTheNeighboursSession(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		a := &toy{queues: 1, id: 0x4001}
		b := &toy{queues: 1, id: 0x4002}
		r := newRig(t, newRegion(t), nil, a, b).start()
		fa, fb := newFrontEnd(r, d, 0), newFrontEnd(r, d, 1)
		fb.rest()
		fb.quiesce()
		fa.run("QueuePFN 0")
		fa.settle()
		r.pauseDev.Store(0)
		r.pause(pointAcked, 1)
		fa.advance()
		fa.advance() // ring
		r.awaitPause()
		fa.boot()
		fa.walk(stepIndex(fa, "QueueSel=0"))
		r.goOn()
		fa.rest()
		r.until("the end of the neighbour's session", func() bool { return b.ended.Load() == 1 })
		fb.boot()
		fb.rest()
		fa.more()
		fb.more()
	})
}

func TestT21_PlainStores(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		played := 0
		for p := pointWoken; p <= pointMemory; p++ {
			played += every(t, d, p, func(o *Options) { o.PlainStore = true }, nil)
		}
		t.Logf("%d scenarios", played)
	})
	t.Run("device memory", func(t *testing.T) {
		if raceEnabled {
			t.Skip("both sides race on this heap memory by design")
		}
		perDialect(t, func(t *testing.T, d dialect) {
			region, _ := shmem.NewStrict(winSize, 4) // a compare-and-swap panics
			f := newFrontEnd(newRig(t, region, nil).start(), d, 0)
			f.rest()
			f.boot()
			f.rest()
			f.more()
		})
	})
}

// A reboot inside the window that plain stores cannot close is noticed, said, and recovered.
func TestT21_RebootInsideAPlainStore(t *testing.T) {
	r := newRig(t, newRegion(t), func(o *Options) { o.PlainStore = true }).start()
	f := newFrontEnd(r, zephyr2021, 0)
	f.rest()
	f.boot()
	f.run("QueuePFN 1")
	f.settle()
	r.pause(pointReread, 1)
	f.advance() // QueuePFN 1
	f.advance() // ring
	r.awaitPause()
	f.boot()
	f.walk(stepIndex(f, "ack 0")) // queue 0's new request is about to be overwritten
	r.goOn()
	f.rest()
	f.more()
	for _, want := range []string{"restarted during an acknowledgement", "taken over from the session before"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("log does not say %q:\n%s", want, r.log)
		}
	}
}

// The request of a life that is over still stands when the restart is noticed. While it is
// acknowledged by a plain store, the new life asks for its first queue: that request is lost.
func TestT21_OldRequestInsideAPlainStore(t *testing.T) {
	for _, seen := range []string{"QueueSel=0", "QueuePFN 0"} { // what the new life has come to by then
		t.Run(seen, func(t *testing.T) {
			perDialect(t, func(t *testing.T, d dialect) {
				r := newRig(t, newRegion(t), func(o *Options) { o.PlainStore = true }).start()
				f := newFrontEnd(r, d, 0)
				f.run("QueuePFN 1")
				f.settle()
				f.advance() // QueuePFN 1, and no ring: the request is seen by the next life's first
				f.boot()
				r.pause(pointWoken, 1)
				f.walk(2)
				r.awaitPause()
				f.walk(stepIndex(f, seen) - f.pc)
				r.pause(pointReread, 1)
				r.goOn()
				r.awaitPause()
				f.walk(stepIndex(f, "ack 0") - f.pc)
				r.goOn()
				f.rest()
				f.more()
				if want := "taken over from the session before"; !strings.Contains(r.log.String(), want) {
					t.Errorf("log does not say %q:\n%s", want, r.log)
				}
			})
		})
	}
}
