package mmio

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/emulator"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

var litmusRounds = flag.Int("litmus", 200_000, "rounds of each lost-wakeup test")

// thrifty is a driver on a thread of its own that obeys suppression to the letter: it rings only
// where the device wants it, and wants to be rung only before it sleeps. One wake-up lost is one
// of the two asleep for ever.
type thrifty struct {
	*frontEnd
	line     notify.Line
	eventIdx bool
	handler  bool // interrupts as the deployed front-ends do: nothing without the status bit
	rung     int
	slept    int
}

func (d *thrifty) avail() uint64 { return d.layout(0).Avail }
func (d *thrifty) used() uint64  { return d.layout(0).Used }

// submit offers n requests and rings if it has to.
func (d *thrifty) submit(n uint16) {
	size := d.layout(0).Size
	old := d.sub[0]
	for i := range n {
		d.mem.Store16Plain(d.avail()+4+2*uint64((old+i)%size), 0)
	}
	d.sub[0] += n
	flags := uint32(d.mem.Load16(d.avail()))
	d.mem.Store32(d.avail(), uint32(d.sub[0])<<16|flags)
	// Stored with a full barrier, so this look is after it.
	kick := d.mem.Load16(d.used())&vring.UsedNoNotify == 0
	if d.eventIdx {
		kick = vring.NeedEvent(d.mem.Load16(d.used()+4+8*uint64(size)), d.sub[0], old)
	}
	if kick {
		d.rung++
		d.line.Raise()
	}
}

// want says whether to be interrupted at the next completion.
func (d *thrifty) want(yes bool) {
	if d.eventIdx {
		event := d.seen[0]
		if !yes {
			event--
		}
		d.mem.Store16Plain(d.avail()+4+2*uint64(d.layout(0).Size), event)
		d.mem.Store32(d.avail(), uint32(d.sub[0])<<16) // orders it before the next look
		return
	}
	flags := uint32(vring.AvailNoInterrupt)
	if yes {
		flags = 0
	}
	d.mem.Store32(d.avail(), uint32(d.sub[0])<<16|flags)
}

// collect waits until no more than left requests are on their way, looking a few times before it
// sleeps.
func (d *thrifty) collect(left uint16, looks int) {
	for d.sub[0]-d.seen[0] > left {
		if now := d.usedIdx(0); now != d.seen[0] {
			d.seen[0] = now
			continue
		}
		if looks > 0 {
			if looks--; looks%64 == 0 {
				runtime.Gosched()
			}
			continue
		}
		d.want(true)
		for d.usedIdx(0) == d.seen[0] {
			d.slept++
			if err := d.line.Wait(); err != nil {
				d.t.Fatalf("a wake-up was lost (%v); used %d, seen %d, offered %d", err, d.usedIdx(0), d.seen[0], d.sub[0])
			}
			if d.handler && !d.interrupted() {
				continue
			}
		}
		d.want(false)
	}
}

// interrupted is an interrupt handler: what it does not run callbacks for it does not see.
func (d *thrifty) interrupted() bool {
	for {
		is := d.get(RegInterruptStatus)
		d.put(RegInterruptACK, is)
		if is != 0 {
			d.line.Raise()
		}
		if is&InterruptUsed != 0 {
			return true
		}
		if err := d.line.Wait(); err != nil {
			d.t.Fatalf("an interrupt was lost (%v); used %d, seen %d, offered %d", err, d.usedIdx(0), d.seen[0], d.sub[0])
		}
	}
}

// threads starts a bus and a thrifty driver of a live device on a doorbell between threads.
func threads(t *testing.T, eventIdx bool, change func(*Options)) *thrifty {
	t.Helper()
	host, guest := notify.NewPair()
	r := newRig(t, newRegion(t), func(o *Options) {
		o.Line = host
		if eventIdx {
			o.Offer = virtio.FeatureSet(virtio.EventIdx)
		}
		if change != nil {
			change(o)
		}
	}, &toy{queues: 1, id: 0x4001}, &toy{queues: 1, id: 0x4002}).start()
	d := &thrifty{frontEnd: newFrontEnd(r, virtioExp, 0), line: guest, eventIdx: eventIdx}
	d.nums[0] = 16
	d.boot()
	d.bringUp(guest, r.bus.opts.Offer)
	return d
}

// bringUp boots without the lock step of a testLine.
func (f *frontEnd) bringUp(line notify.Line, features virtio.Features) {
	f.t.Helper()
	for _, reg := range []struct {
		off uint64
		v   uint32
	}{
		{RegStatus, 1}, {RegGuestPageSize, PageSize}, {RegStatus, 3}, {RegDriverFeatures, features.Word(0)},
		{RegQueueSel, 0}, {RegQueueNum, uint32(f.nums[0])}, {RegQueueAlign, PageSize}, {RegQueuePFN, f.pfn(0)},
	} {
		f.put(reg.off, reg.v)
	}
	line.Raise()
	f.until("the acknowledgement", func() bool { return f.get(RegQueuePFN) == QueueAck })
	f.put(RegStatus, 7)
	line.Raise()
	f.until("the session", func() bool { return f.bus.slots[f.slot].dev.Live() })
}

// watch fails the test instead of letting it hang, if the rounds stop coming.
func (d *thrifty) watch() (round func()) {
	hung := time.AfterFunc(4*hang, func() { d.line.Close() })
	d.t.Cleanup(func() { hung.Stop() })
	rounds := 0
	return func() {
		if rounds++; rounds%1000 == 0 {
			hung.Reset(4 * hang)
		}
	}
}

// looks sweeps through the moments at which a driver may fall asleep.
func looks(round int) int { return []int{0, 0, 1, 3, 7, 20, 50, 200, 1000}[round%9] }

func TestT22_NoWakeupIsLost(t *testing.T) {
	if emulator.Here() {
		t.Skip("QEMU's user mode does not keep the order that these fences ask for")
	}
	rounds := *litmusRounds
	if testing.Short() || raceEnabled {
		rounds /= 10
	}
	for _, eventIdx := range []bool{false, true} {
		t.Run(fmt.Sprintf("eventIdx=%v", eventIdx), func(t *testing.T) {
			// A device that spins before it sleeps, and a driver that sweeps through the moments
			// around its falling asleep.
			d := threads(t, eventIdx, func(o *Options) { o.Spin = time.Microsecond })
			d.want(false)
			alive := d.watch()
			for round := range rounds {
				alive()
				for range round * 37 % 400 {
					d.usedIdx(0)
				}
				d.submit(uint16(1 + round%3))
				d.collect(uint16(round%5), looks(round))
			}
			d.collect(0, 0)
			t.Logf("%d rings and %d sleeps in %d rounds", d.rung, d.slept, rounds)
			assert.Assert(t, d.slept > 100 && d.rung > 100 && d.rung < rounds, "there was nothing to lose")
		})
	}
}

// An interrupt handler that acknowledges at any moment, for a neighbour's interrupts too, loses
// none of the device's.
func TestHVL_05_AckRacesTheNextInterrupt(t *testing.T) {
	if emulator.Here() {
		t.Skip("QEMU's user mode does not keep the order that these fences ask for")
	}
	rounds := *litmusRounds
	if testing.Short() || raceEnabled {
		rounds /= 10
	}
	for _, clear := range []bool{false, true} {
		t.Run(fmt.Sprintf("clearIdle=%v", clear), func(t *testing.T) {
			d := threads(t, false, func(o *Options) { o.ClearIdle = clear })
			other := newFrontEnd(d.rig, virtioExp, 1)
			other.bringUp(d.line, virtio.Features{}) // a second live device: now clearing is worth it
			d.handler = true
			var neighbour sync.WaitGroup
			stop := make(chan struct{})
			defer neighbour.Wait()
			defer close(stop)
			neighbour.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						d.bus.slots[1].NotifyUsed(0) // an interrupt that is none of the device's
						runtime.Gosched()
					}
				}
			})
			alive := d.watch()
			for round := range rounds {
				alive()
				d.submit(1)
				d.collect(0, looks(round))
			}
			t.Logf("%d sleeps in %d rounds", d.slept, rounds)
		})
	}
}
