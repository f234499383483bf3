package mmio

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// The registers of a legacy header (4.2.4) as the deployed front-ends use them.

func TestLMMIO_01_Version1AndOneWordOfFeatures(t *testing.T) {
	offered := virtio.FeatureSet(3, 5)
	r := newRig(t, newRegion(t), nil, &toy{queues: 1, id: 0x4001, features: offered}).start()
	f := newFrontEnd(r, virtioExp, 0)
	assert.Equal(t, f.get(RegVersion), uint32(1))
	for _, sel := range []uint32{0, 1, 7} {
		f.put(RegDeviceFeaturesSel, sel)
		f.line.kick()
		f.settle()
		assert.Equal(t, f.get(RegDeviceFeatures), offered.Word(0), "whatever is selected")
	}
	f.put(RegDriverFeaturesSel, 1)
	f.rest()
}

func TestLMMIO_02_GuestPageSize(t *testing.T) {
	for _, tt := range []struct {
		page uint32
		pfn  uint32 // 0: refused
	}{
		{4096, winAddr/4096 + 2},
		{0, winAddr/4096 + 2}, // our own sentinel, and so the usual size
		{65536, winAddr/65536 + 1},
		{256, winAddr/256 + 64},
		{3, 0},
		{4097, 0},
		{0xffffffff, 0},
	} {
		t.Run(fmt.Sprint(tt.page), func(t *testing.T) {
			r := newRig(t, newRegion(t), nil, &toy{queues: 1, id: 0x4001}).start()
			f := newFrontEnd(r, virtioExp, 0)
			f.hello(tt.page)
			if tt.pfn == 0 {
				assert.Assert(t, !f.ask(request{winAddr / 4096, 0, 4}, PageSize))
				assert.Equal(t, r.bus.Stats()[0].Refusals, uint64(1))
				assert.Assert(t, is.Contains(r.log.String(), "GuestPageSize"))
				f.boot()
				f.rest()
				return
			}
			page := max(tt.page, 1)
			if tt.page == 0 {
				page = 4096
			}
			assert.Assert(t, f.ask(request{tt.pfn, 0, 4}, PageSize))
			f.place(0, vring.Legacy(uint64(tt.pfn)*uint64(page)-winAddr, 4, PageSize))
			f.mustServe(0)
		})
	}
}

func TestLMMIO_03_QueuePFNHoldsTheRequestOrTheAck(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		f := newFrontEnd(newRig(t, newRegion(t), nil).start(), d, 0)
		legal := []uint32{0, QueueAck, f.pfn(0), f.pfn(1)}
		for f.pc < len(f.steps) {
			assert.Assert(t, is.Contains(legal, f.get(RegQueuePFN)))
			if !f.advance() {
				f.sleep()
			}
			f.settle()
		}
		// Neither selecting a queue nor storing 0 is a question, or stops anything.
		for q := range uint32(3) {
			f.put(RegQueueSel, q)
			f.put(RegQueuePFN, 0)
			f.line.kick()
			f.settle()
			assert.Equal(t, f.get(RegQueuePFN), uint32(0))
		}
		f.more()
	})
}

func TestLMMIO_04_QueueAlign(t *testing.T) {
	for _, tt := range []struct {
		align uint32
		ok    bool
	}{{4096, true}, {0, true}, {64, true}, {4, true}, {8192, true}, {2, false}, {3, false}, {1 << 31, false}, {0xffffffff, false}} {
		t.Run(fmt.Sprint(tt.align), func(t *testing.T) {
			r := newRig(t, newRegion(t), nil, &toy{queues: 1, id: 0x4001}).start()
			f := newFrontEnd(r, virtioExp, 0)
			f.hello(PageSize)
			assert.Equal(t, f.ask(request{f.pfn(0), 0, 4}, tt.align), tt.ok)
			if !tt.ok {
				assert.Equal(t, r.bus.Stats()[0].Refusals, uint64(1))
				f.boot()
				f.rest()
				return
			}
			align := tt.align
			if align == 0 {
				align = PageSize
			}
			f.place(0, vring.Legacy(f.pages[0]*PageSize, 4, align))
			f.mustServe(0)
		})
	}
}

func TestLMMIO_05_ResetLeavesQueuePFNAlone(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		f := live(t, d)
		before := f.get(RegQueuePFN)
		f.put(RegStatus, 0)
		f.line.kick()
		f.settle()
		f.until("the end of the session", func() bool { return f.bus.slots[0].dev.Quiet() })
		assert.Equal(t, f.get(RegQueuePFN), before)
		assert.Equal(t, f.get(RegInterruptStatus), uint32(0))
		f.boot()
		f.rest()
		f.more()
	})
}

func TestLMMIO_06_LiveMeansDriverOKAndNoMore(t *testing.T) {
	r := newRig(t, newRegion(t), nil).start()
	f := newFrontEnd(r, virtioExp, 0)
	f.run("Status=4")
	f.offer(0)
	f.line.kick()
	f.settle()
	assert.Equal(t, f.usedIdx(0), uint16(0), "served before DRIVER_OK")
	assert.Equal(t, r.bus.Stats()[0].Sessions, uint64(0))
	f.put(RegStatus, uint32(virtio.DriverOK)) // and never FEATURES_OK
	f.line.kick()
	f.until("the request served", func() bool { return f.usedIdx(0) == 1 })
	assert.Equal(t, f.get(RegStatus), uint32(virtio.DriverOK), "Status is the driver's alone")
}

func TestLMMIO_07_NothingBeyondTheFirstWord(t *testing.T) {
	_, err := NewBus(Options{Region: newRegion(t), Addr: winAddr, Line: newTestLine(), Offer: virtio.FeatureSet(virtio.EventIdx, virtio.Version1)})
	assert.ErrorContains(t, err, "{32}")

	r := newRig(t, newRegion(t), func(o *Options) { o.Offer = virtio.FeatureSet(virtio.EventIdx) },
		&toy{queues: 1, id: 0x4001, features: virtio.FeatureSet(2, 60)}).start()
	f := newFrontEnd(r, virtioExp, 0)
	assert.Equal(t, f.get(RegDeviceFeatures), virtio.FeatureSet(2, virtio.EventIdx).Word(0))
	f.run("Status=4")
	f.put(RegDriverFeatures, f.get(RegDeviceFeatures))
	f.rest()
	assert.Equal(t, r.bus.Stats()[0].Features, virtio.FeatureSet(2, virtio.EventIdx))
}

func TestMMIO_01_MagicIsPublishedLast(t *testing.T) {
	region := newRegion(t)
	mem, err := region.Span(0, region.Size())
	assert.NilError(t, err)
	var looks atomic.Int64
	last := &toy{queues: 1, id: 0x4002, config: make([]byte, 8), readConfig: func() {
		if looks.Add(1) > 1 {
			return
		}
		for i := range uint64(2) {
			if mem.Load32(i*HeaderSize) != 0 {
				t.Errorf("header %d can be found before header 1 is finished", i)
			}
		}
	}}
	r := newRig(t, region, nil, &toy{queues: 1, id: 0x4001}, last)
	r.start()
	assert.Assert(t, looks.Load() > 0)
	for i := range uint64(2) {
		assert.Equal(t, mem.Load32(i*HeaderSize), uint32(0x74726976))
	}
}

func TestMMIO_03_NoDeviceBehindTheLast(t *testing.T) {
	region := newRegion(t)
	r := newRig(t, region, nil, &toy{queues: 1, id: 0x4001}, &toy{queues: 1, id: 0x4002}).start()
	r.stop()
	r = newRig(t, region, nil, &toy{queues: 1, id: 0x4001}).start()
	for i := range uint64(tableSlots) {
		header := i * HeaderSize
		assert.Equal(t, r.mem.Load32(header+RegMagic) == Magic && r.mem.Load32(header+RegDeviceID) != 0, i == 0, "header %d", i)
	}
	newFrontEnd(r, virtioExp, 0).rest()
}

func TestMMIO_12_InterruptBitsStay(t *testing.T) {
	f, toy := liveConfig(t, func(o *Options) { o.ConfigInterrupt = true })
	f.put(RegInterruptACK, InterruptUsed)
	f.line.kick()
	f.settle()
	assert.Equal(t, f.get(RegInterruptStatus), uint32(InterruptUsed))
	toy.change([]byte("changed!"))
	f.until("the other event", func() bool { return f.get(RegInterruptStatus) == InterruptUsed|InterruptConfig })
	f.put(RegInterruptACK, InterruptConfig)
	f.line.kick()
	f.settle()
	f.more()
	assert.Equal(t, f.get(RegInterruptStatus), uint32(InterruptUsed|InterruptConfig))
	f.boot()
	f.run("QueueSel=0")
	f.settle()
	assert.Equal(t, f.get(RegInterruptStatus), uint32(0), "after a restart")
}

func TestMMIO_13_NoBitWithoutItsEvent(t *testing.T) {
	f, toy := liveConfig(t, nil)
	f.boot()
	f.run("Status=4")
	f.settle()
	assert.Equal(t, f.get(RegInterruptStatus), uint32(0), "before DRIVER_OK")
	f.rest()
	assert.Equal(t, f.get(RegInterruptStatus), uint32(InterruptUsed))
	toy.session = <-toy.started
	toy.change([]byte("changed!"))
	f.until("the change", func() bool { return f.get(RegConfig) == binary.LittleEndian.Uint32([]byte("chan")) })
	f.settle()
	assert.Equal(t, f.get(RegInterruptStatus), uint32(InterruptUsed), "no front-end asked for configuration interrupts")
}

func TestMMIO_16_ConfigAtTheHeader(t *testing.T) {
	config := []byte{0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0, 0xaa, 0xbb, 0xcc}
	for _, layout := range []Layout{Table, Tree} {
		t.Run(layout.String(), func(t *testing.T) {
			r := newRig(t, newRegion(t), func(o *Options) { o.Layout = layout },
				&toy{queues: 1, id: 0x4001}, &toy{queues: 1, id: 0x4002, config: config}).start()
			header := r.bus.Map().Places[1].Header - winAddr
			got := make([]byte, len(config)+1)
			r.mem.ReadAt(got, header+0x100)
			assert.DeepEqual(t, got, append(config, 0))
			assert.Equal(t, r.mem.Load16(header+0x106), uint16(1))
			assert.Equal(t, r.mem.Load32(header+0x100), uint32(0x12005452))
			assert.Equal(t, r.mem.Load32(header+0xfc)&1, uint32(0), "generation of a configuration that stands")
		})
	}
}

func TestMMIO_17_TheRegionIsAlwaysSelected(t *testing.T) {
	for _, tt := range []struct {
		layout    Layout
		addr      uint64
		base, len uint64
	}{
		{Table, winAddr, winAddr + 0x1000, winSize - 0x1000},
		{Table, 0x12_3700_0000, 0x12_3700_1000, winSize - 0x1000},
		{Tree, 0x12_3700_0000, 0x12_3701_0000, 0x6000},
	} {
		t.Run(fmt.Sprintf("%v at %#x", tt.layout, tt.addr), func(t *testing.T) {
			r := newRig(t, newRegion(t), func(o *Options) { o.Layout, o.Addr = tt.layout, tt.addr })
			r.start()
			header := r.bus.Map().Places[0].Header - tt.addr
			for _, sel := range []uint32{0, 7} {
				r.mem.Store32(header+0xac, sel)
				r.line.kick()
				r.settle()
				pair := func(off uint64) uint64 {
					return uint64(r.mem.Load32(header+off)) | uint64(r.mem.Load32(header+off+4))<<32
				}
				assert.Equal(t, pair(0xb0), tt.len)
				assert.Equal(t, pair(0xb8), tt.base)
			}
		})
	}
}

func TestMMIO_19_AlignedLittleEndianWords(t *testing.T) {
	if raceEnabled {
		t.Skip("both sides race on this heap memory by design")
	}
	for _, width := range []int{4, 8} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			region, _ := shmem.NewStrict(winSize, width) // anything else panics
			toy := newConfigToy()
			r := newRig(t, region, func(o *Options) { o.ConfigInterrupt = true }, toy.toy).start()
			b := make([]byte, 4)
			r.mem.ReadAt(b, RegMagic)
			assert.Equal(t, string(b), "virt")
			f := newFrontEnd(r, virtioExp, 0)
			f.rest()
			toy.session = <-toy.started
			toy.change([]byte("changed!"))
			f.until("the change", func() bool { return f.get(RegInterruptStatus) == 3 })
			f.more()
			f.boot()
			f.rest()
		})
	}
}

func TestHVL_01_OneWriterAWord(t *testing.T) {
	ours := []uint64{
		RegMagic, RegVersion, RegDeviceID, RegVendorID, RegDeviceFeatures, RegQueueNumMax, RegInterruptStatus,
		RegSHMLenLow, RegSHMLenHigh, RegSHMBaseLow, RegSHMBaseHigh, RegConfigGeneration,
	}
	theirs := []uint64{
		RegDeviceFeaturesSel, RegDriverFeatures, RegDriverFeaturesSel, RegQueueSel, RegQueueNum, RegQueueNotify, RegInterruptACK, RegStatus,
	}
	perDialect(t, func(t *testing.T, d dialect) {
		f := newFrontEnd(newRig(t, newRegion(t), nil).start(), d, 0)
		for _, reg := range theirs {
			f.put(reg, 0)
		}
		wrote := map[uint64]uint32{}
		for f.pc < len(f.steps) {
			if !f.advance() {
				f.sleep()
			}
			for _, reg := range theirs {
				wrote[reg] = f.get(reg)
			}
			f.settle()
			for _, reg := range theirs {
				assert.Equal(t, f.get(reg), wrote[reg], "register %#x is the driver's", reg)
			}
		}
		want := map[uint64]uint32{}
		for _, reg := range ours {
			want[reg] = f.get(reg)
		}
		for _, reg := range ours {
			f.put(reg, 0xdeadbeef)
		}
		f.put(RegInterruptStatus, 1)
		f.more()
		for _, reg := range ours {
			f.put(reg, 0xdeadbeef)
		}
		// They are put right for the driver's next life.
		f.boot()
		f.run("QueueSel=0")
		f.settle()
		want[RegInterruptStatus] = 0
		want[RegConfigGeneration] = 0xdeadbeef // no configuration, so nothing to count
		for _, reg := range ours {
			assert.Equal(t, f.get(reg), want[reg], "register %#x", reg)
		}
		f.rest()
	})
}

func TestHVL_02_OneQueueNumMaxForAll(t *testing.T) {
	r := newRig(t, newRegion(t), nil, &toy{queues: 3, id: 0x4001, sizes: []uint16{64, 16, 0}}).start()
	f := newFrontEnd(r, virtioExp, 0)
	for sel := range uint32(4) {
		f.put(RegQueueSel, sel)
		assert.Equal(t, f.get(RegQueueNumMax), uint32(16))
		f.line.kick()
		f.settle()
		assert.Equal(t, f.get(RegQueueNumMax), uint32(16))
	}
}

// configToy is a device with eight bytes of configuration that can change.
type configToy struct {
	*toy
	session *virtio.Session
}

func newConfigToy() *configToy {
	return &configToy{toy: &toy{queues: 1, id: 0x4001, config: []byte("original"), started: make(chan *virtio.Session, 8)}}
}

func (c *configToy) change(config []byte) {
	c.setConfig(config)
	c.session.ConfigChanged()
}

// liveConfig is a live device with a configuration that can change.
func liveConfig(t *testing.T, change func(*Options)) (*frontEnd, *configToy) {
	t.Helper()
	toy := newConfigToy()
	f := newFrontEnd(newRig(t, newRegion(t), change, toy.toy).start(), virtioExp, 0)
	f.rest()
	toy.session = <-toy.started
	f.quiesce()
	return f, toy
}

// place puts queue q where the driver did not by itself.
func (f *frontEnd) place(q int, l vring.Layout) {
	f.at[q] = l
	f.mem.Zero(l.Desc, l.DescBytes())
	f.mem.Store64Plain(l.Desc, winAddr+f.buffer(q))
	f.mem.Store64Plain(l.Desc+8, 8|vring.DescWrite<<32)
}

// mustServe says DRIVER_OK and has a request on queue q served.
func (f *frontEnd) mustServe(q int) {
	f.t.Helper()
	f.put(RegStatus, 7)
	f.offer(q)
	f.line.kick()
	f.until(fmt.Sprintf("a request on queue %d served", q), func() bool { return f.usedIdx(q) == f.sub[q] })
	assert.Assert(f.t, !strings.Contains(f.log.String(), "level=WARN"), "%s", f.log)
}
