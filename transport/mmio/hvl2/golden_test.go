package hvl2

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// words reads n words at off of the window.
func (r *rig) words(off uint64, n int) (all []uint32) {
	s, err := r.region.Span(off, uint64(4*n))
	assert.NilError(r.t, err)
	for i := range n {
		all = append(all, s.Load32(uint64(4*i)))
	}
	return all
}

// The worked example of docs/hvl-v2.md, section 13, word for word.
func TestWorkedExample(t *testing.T) {
	r := &rig{t: t, region: newRegion(t, 0x100000), backend: inOrderOne(), log: new(logbook)}
	r.opts = Options{
		Place: Place{SlotOff: 0x2000, MemOff: 0x10000, MemSize: 0xF0000, AddrBase: 0x37010000},
		Offer: virtio.FeatureSet(virtio.IndirectDesc, virtio.EventIdx),
	}
	r.monitor()
	// The life before: eleven hex transactions, five events.
	r.store(OffTxnSeq, 0x11)
	r.store(OffTxnAck, 0x11)
	r.store(OffUsedSeen, 5)
	assert.NilError(t, r.slot.Start())
	all, err := r.region.Span(0, r.region.Size())
	assert.NilError(t, err)
	assert.NilError(t, Directory{
		WindowSize: 0x100000, ToDevice: Hint(HintIPI, 7), ToDriver: Hint(HintIPI, 8),
		Entries: []Entry{{DeviceID: 4, SlotOff: 0x2000, SlotSize: 0x1000, MemOff: 0x10000, MemSize: 0xF0000}},
	}.Publish(all))

	assert.DeepEqual(t, r.words(0xE00, 24), []uint32{
		0x326C7668, 0x00020000, 0x00000040, 0x00000001, 0x00100000, 0, 0x00000E40, 1,
		0x20, 0, 0, 0x01000007, 0x01000008, 0, 0, 0,
		4, 0, 0x2000, 0x1000, 0x10, 0xF0, 0, 0,
	})
	assert.DeepEqual(t, r.words(0x2000, 3), []uint32{0x74726976, 2, 4})
	assert.DeepEqual(t, r.words(0x2800, 8), []uint32{0x326C7668, 0x00020000, 0x11, 0, 1, 1, 5, 0})
	assert.DeepEqual(t, r.words(0x2840, 8), []uint32{0x37010000, 0, 0x10000, 0, 0xF0000, 0, 0x2000, 0})

	seq := uint32(0x11)
	write := func(cmd, val uint32) {
		t.Helper()
		seq++
		r.must(cmd&0xffff, val, cmd>>16)
		assert.Equal(t, r.load(OffTxnAck), seq)
	}
	show := func(off uint64, want uint32) {
		t.Helper()
		assert.Equal(t, r.load(off), want)
	}
	write(0x00040070, 0)
	show(0x70, 0)
	show(0x900, 0)
	r.store(OffUsedSeen, 5)
	r.store(OffConfigSeen, 0)
	write(0x00040070, 1)
	write(0x00040070, 3)
	show(0x70, 3)
	write(0x00040014, 0)
	show(0x10, 0x30000000)
	write(0x00040014, 1)
	show(0x10, 0x00000013)
	write(0x00040024, 0)
	write(0x00040020, 0)
	write(0x00040024, 1)
	write(0x00040020, 0x13)
	write(0x00040070, 0xb)
	show(0x70, 0xb)
	write(0x00040030, 0)
	show(0x34, 0x100)
	show(0x44, 0)
	write(0x00040038, 8)
	for i, v := range []uint32{0x37010000, 0, 0x37010080, 0, 0x370100C0, 0} {
		write(0x00040000|[]uint32{0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4}[i], v)
	}
	write(0x00040044, 1)
	show(0x44, 1)
	assert.DeepEqual(t, r.words(0x2940, 8), []uint32{8, 1, 0x37010000, 0, 0x37010080, 0, 0x370100C0, 0})
	write(0x00040070, 0xf)
	assert.Equal(t, seq, uint32(0x25))
	show(0x70, 0xf)

	desc := r.span(0x37010000, 16)
	desc.Store64Plain(0, 0x37011000)
	desc.Store32Plain(8, 64)
	desc.Store32Plain(12, 2)
	r.span(0x37010080, 4).Store32(0, 1<<16)
	r.ring()
	r.until("the request", func() bool { return r.load(OffUsedEvents) == 6 })
	assert.Equal(t, r.span(0x370100C0, 4).Load16(2), uint16(1))
}

// inOrderOne is an entropy device as far as the driver sees: one queue.
func inOrderOne() *toy {
	return &toy{info: virtio.Info{InOrder: true, Queues: []uint16{0}}}
}

func TestDirectory(t *testing.T) {
	region := shmem.NewHeap(0x2000)
	all, err := region.Span(0, region.Size())
	assert.NilError(t, err)
	epoch := func() uint32 { return all.Load32(DirectoryOff + DirLayoutEpoch) }
	d := Directory{WindowSize: 1 << 32, Entries: []Entry{{DeviceID: 1, Legacy: true}, {DeviceID: 4, SlotOff: 0x2000, Instance: 1}}}
	assert.NilError(t, d.Publish(all))
	assert.Equal(t, epoch(), uint32(1))
	assert.Equal(t, all.Load32(DirectoryOff+DirWindowSize+4), uint32(1))
	assert.NilError(t, d.Publish(all))
	assert.Equal(t, epoch(), uint32(1), "it says the same: no front-end is disturbed")
	assert.NilError(t, Withdraw(all))
	assert.Equal(t, all.Load32(DirectoryOff), uint32(0))
	assert.NilError(t, d.Publish(all))
	assert.Equal(t, epoch(), uint32(2))
	d.Entries = d.Entries[:1]
	assert.NilError(t, d.Publish(all))
	assert.Equal(t, epoch(), uint32(3))
	all.Store32(DirectoryOff+DirLayoutEpoch, ^uint32(0))
	d.Entries = nil
	assert.NilError(t, d.Publish(all))
	assert.Equal(t, epoch(), uint32(1), "never 0")

	d.Entries = make([]Entry, MaxEntries+1)
	assert.ErrorContains(t, d.Publish(all), "room for 64")
	small, err := region.Span(0, 0xE40)
	assert.NilError(t, err)
	assert.ErrorContains(t, Directory{Entries: make([]Entry, 1)}.Publish(small), "does not fit")
}
