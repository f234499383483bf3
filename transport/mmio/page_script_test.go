package mmio

import (
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// pageFront is one boot of a driver for the one queue of a device on a slot page, in loads and
// stores.
type pageFront struct {
	*rig
	page, mem    shmem.Span
	base         uint64 // the driver's address of mem
	avail, taken uint16
}

func newPageFront(r *rig, place int) *pageFront {
	r.t.Helper()
	p := r.bus.Map().Places[place].Page
	page, err := r.region.Span(p.SlotOff, p.SlotSize)
	assert.NilError(r.t, err)
	mem, err := r.region.Span(p.MemOff, p.MemSize)
	assert.NilError(r.t, err)
	return &pageFront{rig: r, page: page, mem: mem, base: p.AddrBase}
}

func (f *pageFront) get(off uint64) uint32 { return f.page.Load32(off) }

func (f *pageFront) status() virtio.Status { return virtio.Status(f.get(hvl2.RegStatus)) }

func (f *pageFront) acked() bool { return f.get(hvl2.OffTxnAck) == f.get(hvl2.OffTxnSeq) }

// begin is a transaction up to its ring.
func (f *pageFront) begin(reg, val uint32) {
	f.page.Store32(hvl2.OffTxnVal, val)
	f.page.Store32(hvl2.OffTxnCmd, hvl2.Command(reg, 4))
	f.page.Store32(hvl2.OffTxnSeq, f.get(hvl2.OffTxnSeq)+1)
	f.line.kick()
}

func (f *pageFront) write(reg, val uint32) hvl2.Result {
	f.t.Helper()
	f.begin(reg, val)
	f.until("an acknowledgement", f.acked)
	return hvl2.Result(f.get(hvl2.OffTxnResult))
}

// up attaches and brings the device up with its one queue.
func (f *pageFront) up() *pageFront {
	f.t.Helper()
	f.line.kick()
	f.until("the predecessor's transaction", f.acked)
	f.avail, f.taken = 0, 0
	f.mem.Zero(0, 0x2000)
	l := f.layout()
	for _, w := range [][2]uint32{
		{hvl2.RegStatus, 0}, {hvl2.RegStatus, 1}, {hvl2.RegStatus, 3}, {hvl2.RegDriverFeaturesSel, 1}, {hvl2.RegDriverFeatures, 1},
		{hvl2.RegStatus, 11}, {hvl2.RegQueueSel, 0}, {hvl2.RegQueueSize, uint32(l.Size)},
		{hvl2.RegQueueDescLow, uint32(l.Desc)}, {hvl2.RegQueueDriverLow, uint32(l.Avail)}, {hvl2.RegQueueDeviceLow, uint32(l.Used)},
		{hvl2.RegQueueReady, 1}, {hvl2.RegStatus, 15},
	} {
		assert.Equal(f.t, f.write(w[0], w[1]), hvl2.Done, "%#x", w[0])
	}
	assert.Equal(f.t, f.status(), virtio.Status(15))
	return f
}

func (f *pageFront) layout() vring.Layout {
	return vring.Layout{Size: 4, Desc: f.base, Avail: f.base + 0x100, Used: f.base + 0x200}
}

// offer makes a request of two writable bytes available, without a ring.
func (f *pageFront) offer() {
	head := uint64(f.avail % 4)
	f.mem.Store64Plain(16*head, f.base+0x1000+16*head)
	f.mem.Store32Plain(16*head+8, 2)
	f.mem.Store32Plain(16*head+12, vring.DescWrite)
	f.mem.Store16Plain(0x104+2*head, uint16(head))
	f.avail++
	f.mem.Store32(0x100, uint32(f.avail)<<16)
}

func (f *pageFront) answered() bool { return f.mem.Load16(0x202) == f.avail }

func (f *pageFront) mustServe() {
	f.t.Helper()
	f.offer()
	f.line.kick()
	f.until("an answer", f.answered)
}
