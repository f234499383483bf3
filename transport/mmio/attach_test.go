package mmio

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
)

// successor starts a new monitor on the window of one that was killed, with the front-end's
// doorbell connected to it.
func (f *frontEnd) successor(change func(*Options), toys ...*toy) {
	f.t.Helper()
	f.rig = newRig(f.t, f.region, change, toys...)
	f.start()
}

// A monitor is killed at every point it passes, the driver goes on as far as it can, and a new
// monitor finds it there: every request is answered in the end.
func TestHVL_07_MonitorKilledAnywhere(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		t.Run("compare-and-swap", func(t *testing.T) { killEverywhere(t, d, nil) })
		t.Run("plain stores", func(t *testing.T) { killEverywhere(t, d, func(o *Options) { o.PlainStore = true }) })
	})
}

func killEverywhere(t *testing.T, d dialect, change func(*Options)) {
	region := newRegion(t)
	played := 0
	for p := pointWoken; p <= pointMemory; p++ {
		for n := 1; n <= 60; n++ {
			if testing.Short() && n > 4 {
				break
			}
			reached := false
			for after := 0; after < 3 && (after == 0 || reached); after++ {
				name := fmt.Sprintf("%v point %d passing %d, %d steps", d, p, n, after)
				reached = killAnywhere(t, name, region, change, d, p, n, after)
				if reached {
					played++
				}
			}
			if !reached {
				break
			}
		}
	}
	t.Logf("%d scenarios", played)
	if played < 100 && !testing.Short() {
		t.Errorf("only %d scenarios were played", played)
	}
}

func killAnywhere(t *testing.T, name string, region *shmem.Region, change func(*Options), d dialect, p point, n, after int) (reached bool) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("in scenario %s", name)
		}
	}()
	wipe(t, region)
	r := newRig(t, region, change)
	r.pause(p, n)
	r.start()
	f := newFrontEnd(r, d, 0)
	f.dozes = true
	if !f.untilPause() {
		r.stop()
		return false
	}
	<-r.paused
	r.kill()
	f.walk(after)
	f.lax = true
	f.rig = newRig(t, region, change)
	f.pause(pointWoken, 1)
	f.start()
	f.awaitPause()
	select {
	case <-f.line.out.c: // the ring at the start comes before anything was done
		f.interrupt()
	default:
	}
	f.goOn()
	f.rest()
	f.more()
	f.stop()
	return true
}

func TestHVL_07_RequestInFlightIsDoneAgain(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		f := live(t, d)
		f.more()
		f.pause(pointMemory, 3) // the look, the chain, then the answer
		f.offer(0)
		f.line.kick()
		f.awaitPause()
		f.kill()
		f.put(RegInterruptStatus, 0)
		f.mem.Store64Plain(f.buffer(0), 0) // what the first attempt left there
		f.lax = true
		f.successor(nil)
		f.until("the request done", func() bool { return f.usedIdx(0) == f.sub[0] })
		f.sleep() // the interrupt at the start
		assert.Equal(t, f.seen[0], f.sub[0], "requests seen")
		assert.Assert(t, strings.Contains(f.log.String(), "taken over"))
		f.more()
		assert.Equal(t, f.bus.Stats()[0].Restarts, uint64(0))
	})
}

// What cannot be gone on from is left alone until the front-end restarts.
func TestHVL_07_WaitsForARestart(t *testing.T) {
	word := func(f *frontEnd, i uint64) uint32 { return f.get(regRecord + 4*i) }
	for _, tt := range []struct {
		name  string
		spoil func(f *frontEnd)
		loose bool // completes out of order
	}{
		{name: "no record", spoil: func(f *frontEnd) { f.put(regRecord, 0) }},
		{name: "torn record", spoil: func(f *frontEnd) { f.put(regRecord+4, word(f, 1)+16) }},
		{name: "forged size", spoil: func(f *frontEnd) { f.forge(0, word(f, 1)|15) }},
		{name: "ring on the registers", spoil: func(f *frontEnd) { f.forge(0, winAddr/PageSize<<4|1) }},
		{name: "ring outside", spoil: func(f *frontEnd) { f.forge(0, (winAddr+winSize)/PageSize<<4|1) }},
		{name: "rings overlap", spoil: func(f *frontEnd) { f.forge(0, word(f, 2)) }},
		{name: "more queues than the device has", spoil: func(f *frontEnd) { f.forge(5, word(f, 1)+1<<10) }},
		{name: "no such queue acknowledged", spoil: func(f *frontEnd) { f.forge(1, 0) }},
		{name: "index jumped", spoil: func(f *frontEnd) { f.mem.Store32(f.layout(0).Avail, 0x7000<<16) }},
		{name: "feature taken back", spoil: func(f *frontEnd) { f.put(RegDriverFeatures, 1<<5) }},
		{name: "requests out of order", spoil: func(f *frontEnd) { f.offer(0) }, loose: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := live(t, virtioExp)
			f.kill()
			tt.spoil(f)
			before := make([]byte, winSize)
			f.mem.ReadAt(before, 0)
			toy := &toy{queues: 2, id: 0x4001, loose: tt.loose}
			f.successor(nil, toy)
			for range 3 {
				f.offer(1)
				f.line.kick()
				f.settle()
			}
			// Not even the next request is answered: it is a session that nobody can serve.
			assert.Assert(t, !f.ask(request{f.pfn(1) + 2, 0, uint32(f.nums[0])}, PageSize))
			assert.Equal(t, toy.served.Load(), int64(0))
			assert.Equal(t, f.get(RegInterruptStatus), uint32(0))
			assert.Equal(t, strings.Count(f.log.String(), "cannot be taken over"), 1)
			after := make([]byte, winSize)
			f.mem.ReadAt(after, 0)
			assert.Equal(t, string(after[0x1000:0x3000]), string(f.withOffers(before[0x1000:0x3000])), "the front-end's rings")
			f.boot()
			f.rest()
			f.more()
		})
	}
}

// withOffers is what the driver's own offers made of a copy of its rings.
func (f *frontEnd) withOffers(rings []byte) []byte {
	l := f.layout(1)
	f.mem.ReadAt(rings[l.Avail-0x1000:l.Used-0x1000], l.Avail)
	return rings
}

// forge puts a word into the record as its owner would.
func (f *frontEnd) forge(i int, word uint32) {
	var words [recordQueues]uint32
	for i := range words {
		words[i] = f.get(regRecord + 4 + 4*uint64(i))
	}
	words[i] = word
	f.put(regRecord+4+4*uint64(i), word)
	f.put(regRecord, seal(words, f.get(regRecord)&sealQueue))
}

// A device that completes out of order can be taken over while nothing of it is under way.
func TestHVL_07_IdleDeviceOutOfOrder(t *testing.T) {
	toys := func() []*toy { return []*toy{{queues: 2, id: 0x4001, loose: true}} }
	f := live(t, virtioExp, toys()...)
	f.kill()
	f.lax = true
	f.successor(nil, toys()...)
	f.more()
}

// A front-end that waits for its first acknowledgement when the monitor starts is served.
func TestHVL_07_FrontEndWaitsForTheMonitor(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		for _, upTo := range []string{"GPS", "QueueSel=0", "QueueNum 0", "QueueAlign 0", "QueuePFN 0", "ack 0"} {
			t.Run(upTo, func(t *testing.T) {
				r := newRig(t, newRegion(t), nil).start()
				f := newFrontEnd(r, d, 0)
				f.rest()
				f.kill()
				f.boot()
				if upTo == "GPS" {
					upTo = "Status=2"
				}
				f.walk(stepIndex(f, upTo))
				f.successor(nil)
				f.settle()
				f.rest()
				f.more()
			})
		}
	})
}

func TestHVL_07_AttachNeverWipes(t *testing.T) {
	for _, wipe := range []bool{false, true} {
		t.Run(fmt.Sprintf("wipe=%v", wipe), func(t *testing.T) {
			f := live(t, virtioExp)
			f.kill()
			const heap = 0x17000
			f.mem.WriteAt([]byte("the driver's heap"), heap)
			f.rig = newRig(t, f.region, func(o *Options) { o.Wipe = wipe })
			f.start()
			got := make([]byte, len("the driver's heap"))
			f.mem.ReadAt(got, heap)
			assert.Equal(t, string(got) == "the driver's heap", !wipe)
			assert.Equal(t, f.get(RegStatus) == 0, wipe)
			assert.Equal(t, f.get(RegMagic), uint32(Magic))
			f.boot()
			f.rest()
			f.more()
		})
	}
}

// The record says what was acknowledged, and is gone with the session.
func TestHVL_07_Record(t *testing.T) {
	f := live(t, virtioExp)
	s := f.bus.slots[0]
	f.line.settle(func() bool { return false })
	requests, sel, ok := s.record()
	assert.Assert(t, ok)
	assert.Equal(t, sel, uint32(1))
	assert.Assert(t, slices.Equal(requests, []request{{f.pfn(0), 0, 2}, {f.pfn(1), 1, 4}}), "%v", requests)
	f.boot()
	f.run("QueueSel=0")
	f.settle()
	_, _, ok = s.record()
	assert.Assert(t, !ok, "a record outlived its session")
}

// A record holds rings of the one page size and alignment it is read back with.
func TestHVL_07_NoRecordOfOtherGeometry(t *testing.T) {
	for _, tt := range []struct {
		name        string
		page, align uint32
	}{{"page", 8192, PageSize}, {"align", PageSize, 64}} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, newRegion(t), nil, &toy{queues: 1, id: 0x4001}).start()
			f := newFrontEnd(r, virtioExp, 0)
			f.hello(tt.page)
			assert.Assert(t, f.ask(request{winAddr/tt.page + 2, 0, 4}, tt.align))
			_, _, ok := r.bus.slots[0].record()
			assert.Assert(t, !ok)
		})
	}
}
