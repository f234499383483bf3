package mmio

import (
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// What a driver can do to the registers. Each test ends with a good request of a good driver.

// recovers proves that the device serves a driver that boots again and behaves.
func (f *frontEnd) recovers() {
	f.t.Helper()
	f.boot()
	f.rest()
	f.more()
}

func TestDRV_19_KickFlood(t *testing.T) {
	f := live(t, virtioExp)
	rung := f.line.out.rung.Load()
	for i := range 10_000 {
		f.put(RegQueueNotify, uint32(i*31)|0xffff0000)
		f.line.kick()
	}
	f.settle()
	assert.Equal(t, f.line.out.rung.Load(), rung)
	assert.Equal(t, f.usedIdx(0), f.sub[0])
	f.more()
	f.recovers()
}

func TestDRV_20_FeaturesNotOffered(t *testing.T) {
	offered := virtio.FeatureSet(1, 4)
	r := newRig(t, newRegion(t), nil, &toy{queues: 1, id: 0x4001, features: offered}).start()
	f := newFrontEnd(r, virtioExp, 0)
	f.run("Status=4")
	f.put(RegDriverFeatures, ^uint32(0))
	f.rest()
	assert.Equal(t, r.bus.Stats()[0].Features, offered)
	assert.Equal(t, r.bus.Stats()[0].Refusals, uint64(1))
	assert.Equal(t, strings.Count(r.log.String(), "not offered"), 1)
	f.recovers()
}

func TestDRV_24_QueueNum(t *testing.T) {
	for _, num := range []uint32{0, 3, 6, 32, 0x8000, 0x10000, 0x10002, 1 << 31, 0xffffffff} {
		t.Run(fmt.Sprint(num), func(t *testing.T) {
			r := newRig(t, newRegion(t), nil, &toy{queues: 2, id: 0x4001, size: 16}).start()
			f := newFrontEnd(r, virtioExp, 0)
			f.hello(PageSize)
			f.refused(request{f.pfn(0), 0, num}, PageSize, "QueueNum")
			f.recovers()
		})
	}
}

// refused asks for a queue and requires that there is no acknowledgement, and one line.
func (f *frontEnd) refused(r request, align uint32, why string) {
	f.t.Helper()
	before := f.bus.Stats()[f.slot].Refusals
	lines := strings.Count(f.log.String(), "refused")
	for range 3 {
		assert.Assert(f.t, !f.ask(r, align))
	}
	f.until("the refusal", func() bool { return f.bus.Stats()[f.slot].Refusals > before })
	assert.Assert(f.t, !f.ask(r, align))
	assert.Equal(f.t, f.bus.Stats()[f.slot].Refusals, before+1)
	assert.Equal(f.t, strings.Count(f.log.String(), "refused"), lines+1)
	last := f.log.String()[strings.LastIndex(f.log.String(), "refused"):]
	assert.Assert(f.t, is.Contains(last, why))
	assert.Assert(f.t, is.Contains(last, fmt.Sprintf("device=toy%d", f.slot)))
	assert.Assert(f.t, is.Contains(last, fmt.Sprintf("queue=%d", r.sel)))
}

func TestDRV_25_GeometryChangedLater(t *testing.T) {
	scribble := func(f *frontEnd) {
		f.put(RegQueueSel, 1)
		f.put(RegQueueNum, 0x8000)
		f.put(RegQueueAlign, 3)
		f.put(RegDriverFeatures, 0xffff)
		f.line.kick()
		f.settle()
	}
	t.Run("before DRIVER_OK", func(t *testing.T) {
		f := newFrontEnd(newRig(t, newRegion(t), nil).start(), virtioExp, 0)
		f.run("Status=4")
		scribble(f)
		f.rest()
		f.more()
		f.recovers()
	})
	t.Run("after DRIVER_OK", func(t *testing.T) {
		f := live(t, virtioExp)
		scribble(f)
		for range 10 {
			f.more()
		}
		f.recovers()
	})
}

func TestDRV_26_RingInTheWrongPlace(t *testing.T) {
	const page = winAddr / PageSize
	for _, tt := range []struct {
		name   string
		layout Layout
		unit   uint32 // GuestPageSize
		r      request
		why    string
	}{
		{"before the window", Table, PageSize, request{page - 1, 0, 4}, "outside"},
		{"at its end", Table, PageSize, request{page + winSize/PageSize, 0, 4}, "outside"},
		{"across its end", Table, PageSize, request{page + winSize/PageSize - 1, 0, 4}, "outside"},
		{"far away", Table, PageSize, request{0xffffffff, 0, 4}, "outside"},
		{"farther", Table, 1 << 31, request{0xffffffff, 0, 4}, "outside"},
		{"on the headers", Table, PageSize, request{page, 0, 4}, "on the registers"},
		{"on the last header", Table, 512, request{winAddr/512 + 7, 0, 4}, "on the registers"},
		{"on the tree", Tree, PageSize, request{page + 15, 0, 4}, "on the registers"},
		{"on a header in the tree layout", Tree, PageSize, request{page + 16, 0, 4}, "on the registers"},
		{"reaching a header", Tree, PageSize, request{page + 14, 0, 4}, "on the registers"},
		{"misaligned", Table, 8, request{winAddr/8 + 0x1001, 0, 4}, "multiple of 16"},
		{"on another queue's", Table, PageSize, request{page + 5, 1, 4}, "overlaps"},
		{"on another queue's end", Table, PageSize, request{page + 6, 1, 4}, "overlaps"},
		{"reaching another queue's", Table, PageSize, request{page + 4, 1, 4}, "overlaps"},
		{"no such queue", Table, PageSize, request{page + 8, 2, 4}, "QueueSel"},
		{"no queue at all", Table, PageSize, request{page + 8, 0xffffffff, 4}, "QueueSel"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, newRegion(t), func(o *Options) { o.Layout = tt.layout }).start()
			f := newFrontEnd(r, virtioExp, 0)
			if tt.layout == Tree {
				f.header = treeSize
				f.pages = []uint64{17, 19}
				f.boot()
			}
			f.hello(tt.unit)
			if tt.why == "overlaps" {
				assert.Assert(t, f.ask(request{page + 5, 0, 4}, PageSize))
			}
			f.refused(tt.r, PageSize, tt.why)
			f.recovers()
		})
	}
}

func TestDRV_27_NoAddressAndTwice(t *testing.T) {
	r := newRig(t, newRegion(t), nil).start()
	f := newFrontEnd(r, virtioExp, 0)
	f.hello(PageSize)
	for _, pfn := range []uint32{0, QueueAck} {
		f.ask(request{pfn, 0, 4}, PageSize)
		assert.Equal(t, f.get(RegQueuePFN), pfn)
		assert.Equal(t, f.get(RegGuestPageSize), uint32(PageSize), "no session")
		assert.Equal(t, r.bus.Stats()[0].Refusals, uint64(0))
	}
	for range 3 {
		assert.Assert(t, f.ask(request{f.pfn(0), 0, uint32(f.nums[0])}, PageSize))
	}
	assert.Assert(t, f.ask(request{f.pfn(1), 1, uint32(f.nums[1])}, PageSize))
	f.acked = []bool{true, true}
	f.mustServe(0)
	f.mustServe(1)
	f.recovers()
}

func TestDRV_29_DeviceWordsOverwritten(t *testing.T) {
	toy := newConfigToy()
	r := newRig(t, newRegion(t), nil, toy.toy).start()
	f := newFrontEnd(r, virtioExp, 0)
	was := f.get(RegQueueNumMax)
	f.put(RegQueueNumMax, 0x4000)
	f.put(RegDeviceID, 0)
	f.put(RegVersion, 2)
	f.put(RegMagic, 0)
	f.hello(PageSize)
	f.refused(request{f.pfn(0), 0, 0x2000}, PageSize, "QueueNum")
	f.boot()
	f.rest()
	toy.session = <-toy.started
	for _, generation := range []uint32{0xffffffff, 7, 0x80000000} {
		before := f.get(RegConfigGeneration)
		f.put(RegConfigGeneration, generation)
		toy.change([]byte(fmt.Sprintf("%08x", generation)))
		f.until("the change", func() bool { return f.get(RegConfigGeneration) == before+2 })
	}
	f.put(RegInterruptStatus, 0xfffffffe)
	f.offer(0)
	f.line.kick()
	f.until("a request served", func() bool { return f.usedIdx(0) == f.sub[0] })
	f.recovers()
	assert.Equal(t, f.get(RegQueueNumMax), was)
	assert.Equal(t, f.get(RegMagic), uint32(Magic))
}

func TestDRV_34_OddWidths(t *testing.T) {
	f := newFrontEnd(newRig(t, newRegion(t), nil).start(), virtioExp, 0)
	bytewise := func(reg uint64, v uint32) {
		for i := range uint64(4) {
			f.mem.WriteAt([]byte{byte(v >> (8 * i))}, f.reg(reg)+i)
		}
		f.line.kick()
		f.settle()
	}
	// A doorbell between the halves shows the device a value that nobody meant.
	f.hello(PageSize)
	f.put(RegQueueSel, 0)
	f.put(RegQueueNum, 2)
	f.put(RegQueueAlign, PageSize)
	f.mem.Store16Plain(f.reg(RegQueuePFN), uint16(f.pfn(0)))
	f.line.kick()
	f.settle()
	assert.Equal(t, f.bus.Stats()[0].Refusals, uint64(1))
	f.mem.Store16Plain(f.reg(RegQueuePFN)+2, uint16(f.pfn(0)>>16))
	f.line.kick()
	f.settle()
	assert.Equal(t, f.get(RegQueuePFN), uint32(QueueAck))
	bytewise(RegQueueSel, 1)
	bytewise(RegQueueNum, 4)
	bytewise(RegQueueAlign, PageSize)
	f.mem.WriteAt([]byte{1, 2, 3, 4, 5}, f.reg(RegInterruptACK)-1) // across two registers
	assert.Assert(t, f.ask(request{f.pfn(1), 1, 4}, PageSize))
	bytewise(RegStatus, 0xffffff00|uint32(virtio.DriverOK)) // only the low byte is a status
	for q := range f.pages {
		f.offer(q)
		f.line.kick()
		f.until("a request served", func() bool { return f.usedIdx(q) == f.sub[q] })
	}
	f.recovers()
}

func TestDRV_35_KicksWithoutASession(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		f := live(t, d)
		f.boot()
		f.run("QueueSel=0") // told that it booted, asked for nothing yet
		f.settle()
		f.until("the end of the session", func() bool { return f.bus.slots[0].dev.Quiet() })
		rung := f.line.out.rung.Load()
		for q := range f.pages {
			f.offer(q)
		}
		f.put(RegStatus, 7)
		for range 10 {
			f.line.kick()
			f.settle()
		}
		assert.Equal(t, f.usedIdx(0), uint16(0))
		assert.Equal(t, f.usedIdx(1), uint16(0))
		assert.Equal(t, f.line.out.rung.Load(), rung)
		f.recovers()
	})
}

// A buffer may lie on rings and registers: it is memory as any other, and the worst that can
// come of it is what the driver could have stored there itself.
func TestDRV_07_BuffersOnRingsAndRegisters(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   func(f *frontEnd) uint64
	}{
		{"descriptor table", func(f *frontEnd) uint64 { return f.layout(0).Desc }},
		{"available ring", func(f *frontEnd) uint64 { return f.layout(0).Avail }},
		{"used ring", func(f *frontEnd) uint64 { return f.layout(0).Used }},
		{"magic", func(f *frontEnd) uint64 { return f.reg(RegMagic) }},
		{"GuestPageSize", func(f *frontEnd) uint64 { return f.reg(RegGuestPageSize) }},
		{"QueuePFN", func(f *frontEnd) uint64 { return f.reg(RegQueuePFN) }},
		{"Status", func(f *frontEnd) uint64 { return f.reg(RegStatus) }},
		{"the neighbour's QueuePFN", func(f *frontEnd) uint64 { return HeaderSize + RegQueuePFN }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, newRegion(t), func(o *Options) { o.Isolate = true },
				&toy{queues: 2, id: 0x4001}, &toy{queues: 1, id: 0x4002}).start()
			f, other := newFrontEnd(r, virtioExp, 0), newFrontEnd(r, virtioExp, 1)
			f.rest()
			other.rest()
			served := r.toys[0].served.Load()
			f.mem.Store64Plain(f.layout(0).Desc, winAddr+tt.at(f))
			f.offer(0)
			f.line.kick()
			f.until("the request", func() bool { return r.toys[0].served.Load() > served || r.bus.slots[0].dev.Broken() != nil })
			r.line.kick()
			r.settle()
			other.more()
			f.recovers()
			other.more()
		})
	}
}

// An unrecoverable fault of a ring stops its device until the driver restarts, and nothing
// else: Status is the driver's.
func TestSTS_03_RingFaultStopsTheDeviceOnly(t *testing.T) {
	r := newRig(t, newRegion(t), nil, &toy{queues: 2, id: 0x4001}, &toy{queues: 1, id: 0x4002}).start()
	f, other := newFrontEnd(r, virtioExp, 0), newFrontEnd(r, virtioExp, 1)
	f.rest()
	other.rest()
	f.mem.Store16Plain(f.layout(0).Avail+4+2*uint64(f.sub[0]%f.nums[0]), 99) // no such descriptor
	f.sub[0]++
	f.mem.Store32(f.layout(0).Avail, uint32(f.sub[0])<<16)
	f.line.kick()
	dev := r.bus.slots[0].dev
	f.until("the device stops", func() bool { return dev.Broken() != nil && dev.Quiet() })
	assert.ErrorIs(t, dev.Broken(), vring.ErrHead)
	for range 5 {
		f.offer(1)
		f.line.kick()
		f.settle()
	}
	assert.Equal(t, f.usedIdx(1), uint16(1), "requests of the stopped device")
	assert.Equal(t, f.get(RegStatus), uint32(virtio.DriverOK))
	assert.Equal(t, strings.Count(r.log.String(), "device stopped"), 1)
	st := r.bus.Stats()
	assert.Assert(t, !st[0].Live && st[1].Live)
	assert.Assert(t, is.Contains(st[0].Broken, "queue 0"))
	// A queue more is not a restart.
	f.refused(request{f.pfn(0) + 8, 0, 2}, PageSize, "stopped because of an error")
	other.more()
	f.recovers()
	assert.Equal(t, r.bus.Stats()[0].Broken, "")
	other.boot()
	other.rest()
}
