package driver_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// Offsets in a slot page of hvl-v2, from docs/hvl-v2.md and not from the packages.
const (
	pgFeatures, pgReady, pgStatus     = 0x10, 0x44, 0x70
	pgSizeMax, pgQueueReset           = 0x34, 0xc0
	pgAck, pgResult, pgBeat, pgEpoch  = 0x808, 0x80c, 0x810, 0x814
	pgUsedEvents, pgConfigEvents      = 0x818, 0x81c
	pgSeq, pgCmd, pgVal               = 0x880, 0x884, 0x888
	pgUsedSeen, pgConfigSeen          = 0x890, 0x894
	pageAt, memAt, memBytes, addrBase = 0x2000, 0x10000, 0x20000, 0x5000_0000
	dirAt, entriesAt                  = 0xe00, 0xe40
)

// fakePage is a device of hvl-v2 done by hand, for one goroutine: it does transactions while the
// driver rings.
type fakePage struct {
	*fake
	page    shmem.Span
	doing   sync.Mutex
	mu      sync.Mutex // queues: a test looks at the rings while the driver rings
	offered [4]uint32
	log     []string
	regs    map[uint32]uint32 // as last written
	queues  [2]map[uint32]uint32
	gate    atomic.Bool
	mute    atomic.Bool // answers no more
	answer  func(reg, value uint32) (result uint32, ok bool)
	before  func()   // of each answer
	shadow  sync.Map // what it stored last, by offset
}

type pageLine struct {
	*countLine
	f *fakePage
}

func (l pageLine) Raise() error { _ = l.countLine.Raise(); l.f.rung(); return nil }

func newFakePage(t testing.TB, queues int) *fakePage {
	t.Helper()
	region, err := shmem.NewMemfd("window", winSize) // which the race detector does not watch
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, region.Close()) })
	f := &fakePage{fake: newFakeIn(t, region), regs: map[uint32]uint32{}}
	page, err := f.region.Span(pageAt, 0x1000)
	assert.NilError(t, err)
	f.page = page
	f.offered = [4]uint32{0x30000000, 0x113, 0, 0}
	for _, w := range [][2]uint32{
		{4, 2}, {8, 4}, {pgFeatures, f.offered[0]}, {pgSizeMax, 256},
		{0x800, 0x326c7668}, {0x804, 0x20000}, {pgAck, 0x11}, {pgSeq, 0x11}, {pgBeat, 1}, {pgEpoch, 1},
		{pgUsedEvents, 5}, {pgConfigEvents, 0}, {0x840, addrBase}, {0x848, memAt}, {0x850, memBytes},
		{0x858, pageAt}, {0x860, 8}, {0x864, uint32(queues)}, {0, 0x74726976},
	} {
		f.put(uint64(w[0]), w[1])
	}
	f.directory(1)
	return f
}

// put is every store of the device to its page.
func (f *fakePage) put(off uint64, v uint32) {
	f.shadow.Store(off, v)
	f.page.Store32(off, v)
}

// directory names the page as the one device.
func (f *fakePage) directory(layout uint32) {
	for i, w := range []uint32{0, 0x20000, 64, layout, winSize, 0, entriesAt, 1, 32, 0, 0, 0, 0} {
		f.mem.Store32(dirAt+4*uint64(i), w)
	}
	for i, w := range []uint32{4, 0, pageAt, 0x1000, memAt / 4096, memBytes / 4096, 0, 0} {
		f.mem.Store32(entriesAt+4*uint64(i), w)
	}
	f.mem.Store32(dirAt, 0x326c7668)
}

func (f *fakePage) open() *driver.Window {
	return open(f.t, driver.Options{Region: f.region, Line: pageLine{f.line, f}})
}

func (f *fakePage) find() *driver.Device {
	f.t.Helper()
	d, err := f.open().Find(bounded(f.t), virtio.IDEntropy, 0)
	assert.NilError(f.t, err)
	return d
}

// started is the device brought up with queues of eight.
func (f *fakePage) started(c driver.Config) *driver.Device {
	f.t.Helper()
	d := f.find()
	if c.Sizes == nil {
		c.Sizes = []uint16{8}
	}
	assert.NilError(f.t, d.Start(bounded(f.t), c))
	return d
}

func (f *fakePage) rung() {
	f.doing.Lock()
	defer f.doing.Unlock()
	seq := f.page.Load32(pgSeq)
	if seq == f.page.Load32(pgAck) || f.mute.Load() {
		return
	}
	cmd, value := f.page.Load32(pgCmd), f.page.Load32(pgVal)
	reg, width := cmd&0xffff, cmd>>16
	entry := fmt.Sprintf("%03x=%x", reg, value)
	if width != 4 {
		entry += fmt.Sprintf("/%d", width)
	}
	f.log = append(f.log, entry)
	f.put(pgFeatures, 0xbad) // the view is of no worth before the acknowledgement
	result, ok := uint32(0), false
	if f.answer != nil {
		result, ok = f.answer(reg, value)
	}
	f.mu.Lock()
	if !ok {
		result = f.execute(reg, value)
	}
	f.view()
	f.mu.Unlock()
	if f.before != nil {
		f.before()
	}
	f.put(pgResult, result)
	f.put(pgAck, seq)
	f.line.Wake()
}

func (f *fakePage) execute(reg, value uint32) (result uint32) {
	sel := f.regs[0x30]
	switch {
	case reg == pgStatus && value == 0:
		f.regs, f.queues = map[uint32]uint32{}, [2]map[uint32]uint32{}
		f.gate.Store(false)
		f.put(pgStatus, 0)
	case f.gate.Load():
		return 3
	case reg == pgStatus:
		f.put(pgStatus, value|f.page.Load32(pgStatus)&0x40)
	case reg == pgQueueReset:
		f.queues[sel] = nil
	case (reg == 0x38 || reg == pgReady || reg >= 0x80 && reg < 0xa8) && sel < 2:
		if f.queues[sel] == nil {
			f.queues[sel] = map[uint32]uint32{}
		}
		f.queues[sel][reg] = value
	default:
		f.regs[reg] = value
	}
	return 0
}

func (f *fakePage) view() {
	var features, ready, sizeMax uint32
	if sel := f.regs[0x14]; sel < 4 {
		features = f.offered[sel]
	}
	if sel := f.regs[0x30]; sel < f.page.Load32(0x864) {
		sizeMax, ready = 256, f.queues[sel][pgReady]
	}
	f.put(pgFeatures, features)
	f.put(pgSizeMax, sizeMax)
	f.put(pgReady, ready)
}

// ringOf is the device's view of queue i.
func (f *fakePage) ringOf(i int) *usedRing {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := func(reg uint32) uint64 {
		return uint64(f.queues[i][reg]) | uint64(f.queues[i][reg+4])<<32 - addrBase + memAt
	}
	return &usedRing{mem: f.mem, l: vring.Layout{
		Size: uint16(f.queues[i][0x38]), Desc: at(0x80), Avail: at(0x90), Used: at(0xa0),
	}}
}

// event is what the device does after it has used buffers, or changed its configuration.
func (f *fakePage) event(word uint64) {
	f.put(word, f.page.Load32(word)+1)
	f.line.Wake()
}

// breakDown is a monitor that came up without the state it had.
func (f *fakePage) breakDown() {
	f.gate.Store(true)
	f.put(pgEpoch, f.page.Load32(pgEpoch)+1)
	f.put(pgStatus, f.page.Load32(pgStatus)|0x40)
	f.event(pgConfigEvents)
}

// until waits for what another goroutine will do to shared memory.
func until(t testing.TB, done func() bool) {
	t.Helper()
	for begun := time.Now(); !done(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > hang {
			t.Fatal("hangs")
		}
	}
}
