package mmio

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
	"github.com/hypervisorless/virtio/virtio"
)

func modern(o *Options) { o.Layout = Modern }

// one is a device of one queue.
func one() *toy { return &toy{queues: 1, id: 0x4001} }

func TestModernLayout(t *testing.T) {
	m, err := NewMap(Modern, winAddr, 1<<20, Slot{Name: "rng", ID: virtio.IDEntropy})
	assert.NilError(t, err)
	assert.DeepEqual(t, m.Places, []Place{{ // the worked example of docs/hvl-v2.md
		Slot: Slot{"rng", virtio.IDEntropy, 0xF0000}, Header: winAddr + 0x2000, Block: winAddr + 0x10000, Size: 0xF0000,
		Page: hvl2.Place{
			SlotOff: 0x2000, SlotSize: 0x1000, MemOff: 0x10000, MemSize: 0xF0000, AddrBase: winAddr + 0x10000,
			InflightOff: 0x3000, InflightSize: 0x1000,
		},
	}})
	assert.Assert(t, m.Places[0].Modern())
	m, err = NewMap(Modern, winAddr, 1<<20, Slot{Name: "a"}, Slot{Name: "b", Mem: 0x30000}, Slot{Name: "c"})
	assert.NilError(t, err)
	var sizes []uint64
	for _, p := range m.Places {
		sizes = append(sizes, p.Size)
	}
	assert.DeepEqual(t, sizes, []uint64{0x60000, 0x30000, 0x60000})
	assert.Equal(t, m.Places[2].Block, uint64(winAddr+0xA0000))
	for want, slots := range map[string][]Slot{
		"room for 64":  make([]Slot, 65),
		"need 0x22000": make([]Slot, 16),
		"does not fit": {{Mem: 0x10000}, {Mem: 0x11000}},
		"are left":     {{Mem: 0x10000}, {}},
	} {
		_, err := NewMap(Modern, winAddr, 0x20000, slots...)
		assert.Assert(t, is.ErrorContains(err, want))
	}
	_, err = NewMap(Bare, winAddr, 0x20000, Slot{})
	assert.ErrorContains(t, err, "places nothing")
}

func TestHVL_04_PagesOnOneDoorbell(t *testing.T) {
	r := newRig(t, newRegionOf(t, 1<<20), modern, one(), one(), one()).start()
	var fronts []*pageFront
	for i := range 3 {
		fronts = append(fronts, newPageFront(r, i).up())
	}
	fronts[0].offer()
	fronts[2].offer()
	fronts[1].begin(hvl2.RegQueueSel, 7) // the one ring for all of them
	r.until("everything", func() bool { return fronts[0].answered() && fronts[1].acked() && fronts[2].answered() })
	for _, st := range r.bus.Stats() {
		assert.Equal(t, st.Status, virtio.Status(15))
		assert.Assert(t, st.Live)
	}
}

// mixed is a window with a legacy header and a page beside it.
func mixed(t *testing.T, layout Layout) *rig {
	r := newRig(t, newRegionOf(t, 1<<20), func(o *Options) { o.Layout = layout }, &toy{queues: 2, id: 0x4001})
	assert.NilError(t, r.bus.AddPage("page", one(), hvl2.Place{SlotOff: 0x80000, MemOff: 0x90000, MemSize: 0x10000, AddrBase: winAddr + 0x90000}))
	return r
}

func TestHVL_04_PagesBesideLegacyHeaders(t *testing.T) {
	for _, layout := range []Layout{Table, Tree} {
		t.Run(layout.String(), func(t *testing.T) {
			r := mixed(t, layout).start()
			f := newPageFront(r, 1).up()
			if layout == Table {
				legacy := newFrontEnd(r, virtioExp, 0)
				legacy.rest()
				legacy.mustServe(0)
				assert.Equal(t, legacy.get(RegSHMLenLow), uint32(0x7f000), "the pool ends before the page")
			}
			f.mustServe()
			dir := r.mem.Slice(hvl2.DirectoryOff, 0x100)
			assert.Equal(t, dir.Load32(hvl2.DirMagic), uint32(hvl2.Ident))
			assert.Equal(t, dir.Load32(hvl2.DirEntryCount), uint32(2))
			legacyEntry, page := dir.Slice(hvl2.DirSize, 32), dir.Slice(hvl2.DirSize+32, 32)
			assert.Equal(t, legacyEntry.Load32(hvl2.EntryFlags), uint32(hvl2.EntryLegacy))
			assert.Equal(t, page.Load32(hvl2.EntryFlags), uint32(0))
			assert.Equal(t, page.Load32(hvl2.EntrySlotOff), uint32(0x80000))
			assert.Equal(t, page.Load32(hvl2.EntryMemSize), uint32(0x10))
			assert.Equal(t, page.Load32(hvl2.EntryInstance), uint32(1), "the second of its type")
		})
	}
}

func TestAddPageRefuses(t *testing.T) {
	place := func(slot, mem, size uint64) hvl2.Place {
		return hvl2.Place{SlotOff: slot, MemOff: mem, MemSize: size, AddrBase: winAddr + mem}
	}
	for want, where := range map[string]hvl2.Place{
		"legacy front-end has": place(0, 0x40000, 0x10000),
		"at 0x1000 meet":       place(0x30000, 0x1000, 0x10000),
		"nothing is left":      place(0x30000, 0x10000, 0x10000),
		"slot page":            place(1<<20, 0x40000, 0x10000),
		"toy":                  place(0x30000, 0x40000, 1<<20),
	} {
		layout := Table
		if want == "at 0x1000 meet" {
			layout = Tree
		}
		r := newRig(t, newRegionOf(t, 1<<20), func(o *Options) { o.Layout = layout })
		if want == "nothing is left" {
			where.SlotOff = 0x1000
		}
		err := r.bus.AddPage("toy", one(), where)
		assert.Assert(t, is.ErrorContains(err, want))
	}
	r := mixed(t, Table)
	assert.ErrorContains(t, r.bus.AddPage("other", one(), place(0x80000, 0xa0000, 0x1000)), "meets that of page")
	assert.ErrorContains(t, r.bus.Add("late", one(), 0), "come before the pages")

	r = newRig(t, newRegionOf(t, 1<<20), modern, one())
	assert.ErrorContains(t, r.bus.AddPage("other", one(), place(0x80000, 0xa0000, 0x1000)), "places its pages itself")

	r = newRig(t, newRegionOf(t, 1<<20), nil, one(), one(), one(), one(), one(), one(), one(), one())
	assert.ErrorContains(t, r.bus.AddPage("ninth", one(), place(0x80000, 0xa0000, 0x1000)), "the directory's")

	_, err := NewBus(Options{Region: newRegion(t), Line: newTestLine(), Layout: Bare, Wipe: true})
	assert.ErrorContains(t, err, "not the bus's to wipe")
}

// A driver's whole RAM as the window: the page lies in it, and nothing else is the bus's.
func TestBareWindowIsLeftAlone(t *testing.T) {
	region := newRegion(t)
	r := newRig(t, region, modern) // for its line, log and memory
	bus, err := NewBus(Options{Region: region, Line: r.line, Layout: Bare, Log: r.bus.log})
	assert.NilError(t, err)
	assert.ErrorContains(t, bus.Add("toy", one(), 0), "places nothing")
	ram := bytes.Repeat([]byte{0x5a}, winSize)
	r.mem.WriteAt(ram, 0)
	r.mem.Zero(0x7000, 0x1000) // the page, as a kernel gives it away
	assert.NilError(t, bus.AddPage("toy", one(), hvl2.Place{SlotOff: 0x7000, MemSize: winSize}))
	r.bus = bus
	r.start()
	assert.Equal(t, r.mem.Load32(0x7000), uint32(hvl2.Magic))
	after := make([]byte, winSize)
	r.mem.ReadAt(after, 0)
	copy(after[0x7000:], ram[:0x1000])
	assert.Assert(t, bytes.Equal(after, ram))

	f := newPageFront(r, 0)
	f.mem, f.base = r.mem.Slice(0x10000, 0x8000), 0x10000 // its rings are somewhere in the RAM
	f.up()
	f.mustServe()
}

func TestPagesAreTakenAwayInOrder(t *testing.T) {
	region := newRegion(t)
	r := newRig(t, region, modern, one()).start()
	f := newPageFront(r, 0).up()
	f.mustServe()
	rung := r.line.out.rung.Load()
	r.stop()
	assert.Equal(t, f.get(hvl2.RegDeviceID), uint32(0))
	assert.Equal(t, f.get(hvl2.RegStatus), uint32(0x4f))
	assert.Equal(t, r.mem.Load32(hvl2.DirectoryOff), uint32(0))
	assert.Assert(t, r.line.out.rung.Load() > rung)

	// A successor begins anew; the driver has to as well.
	f = newPageFront(newRig(t, region, modern, one()).start(), 0)
	assert.Equal(t, f.get(hvl2.RegDeviceID), uint32(0x4001))
	assert.Equal(t, f.write(hvl2.RegStatus, 1), hvl2.ResetFirst)
	f.up()
	f.mustServe()
}

// Whatever else ends a monitor leaves the pages to its successor.
func TestHVL_07_PagesAreGoneOnWith(t *testing.T) {
	region := newRegion(t)
	r := newRig(t, region, modern, one()).start()
	f := newPageFront(r, 0).up()
	f.mustServe()
	epoch := f.get(hvl2.OffEpoch)
	r.settle()
	r.kill()
	f.offer() // its ring is lost with the monitor
	r = newRig(t, region, modern, one()).start()
	f.rig = r
	r.until("an answer", f.answered)
	assert.Equal(t, f.get(hvl2.OffEpoch), epoch)
	f.mustServe()

	r.line.fail(errors.New("cable gone"))
	assert.ErrorContains(t, r.wait(), "cable gone")
	assert.Equal(t, f.get(hvl2.RegStatus), uint32(15))
	f.rig = newRig(t, region, modern, one()).start()
	f.mustServe()
	assert.Equal(t, f.get(hvl2.OffEpoch), epoch)
}

// A backend that takes its time over a reset delays its own driver and nobody else.
func TestHVL_03_OneResetDelaysNobodyElse(t *testing.T) {
	release := make(chan struct{})
	slow := one()
	slow.serve = func(ctx context.Context, s *virtio.Session) error {
		<-ctx.Done()
		<-release
		return ctx.Err()
	}
	r := newRig(t, newRegionOf(t, 1<<20), modern, slow, one()).start()
	a, b := newPageFront(r, 0).up(), newPageFront(r, 1).up()
	a.begin(hvl2.RegStatus, 0)
	b.mustServe()
	b.up()
	b.mustServe()
	assert.Assert(t, !a.acked())
	close(release)
	r.until("an acknowledgement", a.acked)
}

func TestStopWaitsForPages(t *testing.T) {
	release := make(chan struct{})
	stuck := one()
	stuck.serve = func(ctx context.Context, s *virtio.Session) error {
		<-release
		return ctx.Err()
	}
	r := newRig(t, newRegion(t), modern, stuck)
	r.bus.patience = 1
	r.start()
	newPageFront(r, 0).up()
	r.cancel()
	err := r.wait()
	assert.ErrorContains(t, err, "toy0: backend did not stop")
	close(release)
}

func TestOneMonitorForAPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "window")
	open := func() *shmem.Region {
		region, err := shmem.OpenFile(path, winSize)
		assert.NilError(t, err)
		t.Cleanup(func() { region.Close() })
		return region
	}
	first := newRig(t, open(), modern, one()).start()
	second := newRig(t, open(), modern, one())
	assert.ErrorContains(t, second.bus.Run(t.Context()), "another monitor serves this slot page")
	newPageFront(first, 0).up().mustServe()
	first.stop()
	second.start()
	newPageFront(second, 0).up().mustServe()
}

func TestDRV_33_WindowOfPagesVanishes(t *testing.T) {
	region, path := vanishing(t)
	r := newRig(t, region, modern, one()).start()
	newPageFront(r, 0).up().mustServe()
	assert.NilError(t, os.Truncate(path, 0))
	r.line.kick()
	var fault *shmem.FaultError
	assert.Assert(t, errors.As(r.wait(), &fault))
	// It is back, and empty: the same bus begins anew.
	assert.NilError(t, os.Truncate(path, winSize))
	r.start()
	newPageFront(r, 0).up().mustServe()
}

// A legacy driver cannot put a ring onto a page.
func TestLegacyRingOnAPageIsRefused(t *testing.T) {
	r := mixed(t, Table).start()
	f := newFrontEnd(r, virtioExp, 0)
	f.hello(4096)
	assert.Assert(t, !f.ask(request{pfn: (winAddr + 0x80000) / PageSize, sel: 0, num: 4}, PageSize))
	assert.Assert(t, is.Contains(r.log.String(), "lies on the registers"))
}
