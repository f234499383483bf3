package hvl2

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio"
)

func TestMMIO_01_Magic(t *testing.T) {
	r := newRig(t, inOrder())
	assert.Equal(t, r.load(RegMagic), uint32(0x74726976))
	r.up(1)
	r.store(RegMagic, 7)
	r.q(0).mustServe()
	r.must(RegQueueSel, 0)
}

func TestMMIO_02_Version(t *testing.T) {
	assert.Equal(t, newRig(t, inOrder()).load(RegVersion), uint32(2))
}

func TestMMIO_03_DeviceID(t *testing.T) {
	r := newRig(t, inOrder())
	assert.Equal(t, r.load(RegDeviceID), uint32(virtio.IDEntropy))
	assert.Equal(t, r.load(RegVendorID), uint32(VendorID))
	r.up(1)
	r.slot.Stop()
	r.until("the end", r.slot.Quiet)
	assert.NilError(t, r.slot.Remove())
	assert.Equal(t, r.load(RegDeviceID), uint32(0), "a removed device is a placeholder")
	assert.Equal(t, r.load(RegStatus), uint32(0x4f))
	assert.Assert(t, r.load(OffConfigEvents) != r.load(OffConfigSeen))
}

func TestMMIO_04_DeviceFeaturesSel(t *testing.T) {
	r := newRig(t, wide())
	r.attach()
	offered := r.slot.dev.Offered()
	for _, sel := range []uint32{0, 1, 2, 3, 4, 0xffffffff, 1, 0} {
		r.must(RegDeviceFeaturesSel, sel)
		assert.Equal(t, r.load(RegDeviceFeatures), offered.Word(sel), "window %#x", sel)
	}
	assert.Assert(t, offered.Word(3) != 0)
}

func TestMMIO_05_DriverFeaturesSel(t *testing.T) {
	for _, order := range [][]uint32{{0, 1, 2, 3}, {3, 2, 1, 0}} {
		r := newRig(t, wide())
		r.attach()
		offered := r.slot.dev.Offered()
		for _, i := range order {
			r.must(RegDriverFeaturesSel, i)
			r.must(RegDriverFeatures, offered.Word(i))
		}
		r.must(RegStatus, 11)
		assert.Assert(t, r.status()&virtio.FeaturesOK != 0)
		assert.Equal(t, r.slot.Stats().Features, offered)
	}
}

func TestMMIO_06_QueueSizeMax(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	for sel, want := range map[uint32]uint32{0: 256, 1: 64, 2: 0, 0xffffffff: 0} {
		r.must(RegQueueSel, sel)
		assert.Equal(t, r.load(RegQueueSizeMax), want, "queue %d", sel)
		assert.Equal(t, r.load(RegQueueReady), uint32(0))
	}
}

func TestMMIO_07_QueueRegistersAreOfTheSelectedQueue(t *testing.T) {
	b := inOrder()
	b.info.Queues = []uint16{0, 0, 0}
	r := newRig(t, b)
	r.attach()
	r.accept(r.offered())
	type value struct{ reg, val uint32 }
	values := func(i uint32) []value {
		l := r.q(i).layout()
		return []value{
			{RegQueueDeviceHigh, uint32(l.Used >> 32)}, {RegQueueSize, ringSize}, {RegQueueDescLow, uint32(l.Desc)},
			{RegQueueDriverLow, uint32(l.Avail)}, {RegQueueDescHigh, uint32(l.Desc >> 32)},
			{RegQueueDeviceLow, uint32(l.Used)}, {RegQueueDriverHigh, uint32(l.Avail >> 32)},
		}
	}
	for n := range values(0) { // register by register
		for i := range uint32(3) {
			r.must(RegQueueSel, i)
			r.must(values(i)[n].reg, values(i)[n].val)
		}
	}
	for i := range uint32(3) {
		r.q(i).zero()
		r.must(RegQueueSel, i)
		r.must(RegQueueReady, 1)
	}
	r.must(RegStatus, 15)
	for i := range uint32(3) {
		r.q(i).mustServe()
	}
}

func TestMMIO_08_QueueReadyIsOfTheSelectedQueue(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	r.prepare(1)
	for sel, ready := range map[uint32]uint32{0: 1, 1: 0, 2: 0} {
		r.must(RegQueueSel, sel)
		assert.Equal(t, r.load(RegQueueReady), ready)
	}
}

func TestHVL_02_SelectedViewIsTrueWhenAcknowledged(t *testing.T) {
	r := newRig(t, wide())
	r.attach()
	r.prepare(1)
	for sel := range uint32(4) {
		// Between the store and the look of the device the view is the old one.
		r.store(OffTxnVal, sel)
		r.store(OffTxnCmd, Command(RegQueueSel, 4))
		r.store(OffTxnSeq, r.load(OffTxnSeq)+1)
		assert.Assert(t, !r.acked())
		r.ring()
		assert.Assert(t, r.acked())
		assert.Equal(t, r.load(RegQueueSizeMax), uint32(r.slot.dev.MaxSize(int(sel))))
		r.must(RegDeviceFeaturesSel, sel)
		assert.Equal(t, r.load(RegDeviceFeatures), r.slot.dev.Offered().Word(sel))
	}
}

func TestMMIO_11_NotifyIsTheDoorbellAlone(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(2)
	r.q(1).offer(0, "x")
	for _, index := range []uint32{0, 1, 2, 0xffffffff} {
		assert.Equal(t, r.write(RegQueueNotify, index), NoRegister)
	}
	_, answer := r.q(1).came()
	assert.Equal(t, answer, "x", "a scan is made all the same")
	assert.Equal(t, r.write(RegInterruptACK, 3), NoRegister)
}

func TestMMIO_17_SharedMemoryRegions(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	for _, sel := range []uint32{0, 7, 0xffffffff} {
		r.must(RegSHMSel, sel)
		for _, reg := range []uint64{RegSHMLenLow, RegSHMLenHigh, RegSHMBaseLow, RegSHMBaseHigh} {
			assert.Equal(t, r.load(reg), ^uint32(0))
		}
		assert.Equal(t, r.load(recSHMSel), sel)
	}
}

func TestMMIO_19_OnlyAlignedWordsCount(t *testing.T) {
	b := inOrder()
	b.info.ConfigLen = 8
	r := newRig(t, b)
	r.up(1)
	image := make([]byte, ConfigSize+RegConfig)
	r.page.ReadAt(image, 0)
	for _, cmd := range []uint32{
		Command(RegStatus, 0), Command(RegStatus, 1), Command(RegStatus, 2), Command(RegStatus, 8), Command(RegStatus+1, 4),
		Command(RegStatus, 0xffff), Command(RegMagic, 4), Command(RegConfigGeneration, 4), Command(RegConfig, 3),
		Command(RegConfig+1, 2), Command(RegConfig+2, 4), Command(OffTxnAck, 4), Command(0xffff, 4), Command(0xfffc, 4),
	} {
		assert.Equal(t, r.write(cmd&0xffff, 1, cmd>>16), NoRegister, "%#x", cmd)
	}
	after := make([]byte, len(image))
	r.page.ReadAt(after, 0)
	assert.DeepEqual(t, image, after)
	r.q(0).mustServe()
}

func TestMMIO_20_NoAdminQueue(t *testing.T) {
	r := newRig(t, wide())
	r.attach()
	f := r.offered()
	for _, b := range []virtio.Feature{virtio.AdminVQ, virtio.NotificationData, virtio.NotifConfigData} {
		assert.Assert(t, !f.Has(b))
	}
}

func TestDRV_24_QueueSize(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	r.accept(r.offered())
	for _, size := range []uint32{0, 3, 128, 65536, 0x10008, 0xffffffff} {
		l := r.q(1).layout()
		assert.Equal(t, r.enable(1, l), Done)
		r.must(RegQueueReady, 0)
		r.must(RegQueueSize, size)
		assert.Equal(t, r.write(RegQueueReady, 1), Refused, "size %#x, at most 64", size)
		assert.Equal(t, r.load(RegQueueReady), uint32(0))
		assert.Equal(t, r.load(RegStatus), uint32(11), "no reason to stop the device")
	}
	r.must(RegQueueSize, 64)
	r.must(RegQueueReady, 1)
}

func TestDRV_25_GeometryIsLatched(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(1)
	r.must(RegQueueSel, 0)
	for _, reg := range []uint32{RegQueueSize, RegQueueDescLow, RegQueueDescHigh, RegQueueDriverLow, RegQueueDriverHigh,
		RegQueueDeviceLow, RegQueueDeviceHigh} {
		assert.Equal(t, r.write(reg, 64), Refused, "%#x", reg)
	}
	assert.Equal(t, r.load(queueRecord(0)+recSize), uint32(ringSize))
	r.q(0).mustServe()
}

func TestDRV_26_QueueAreas(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	r.accept(r.offered())
	good := r.q(0).layout()
	for name, l := range map[string]struct{ desc, avail, used uint64 }{
		"unaligned table":      {good.Desc + 8, good.Avail, good.Used},
		"unaligned driver":     {good.Desc, good.Avail + 1, good.Used},
		"unaligned device":     {good.Desc, good.Avail, good.Used + 2},
		"below the memory":     {base + slotOff, good.Avail, good.Used},
		"behind the memory":    {good.Desc, base + winSize, good.Used},
		"across the end":       {good.Desc, good.Avail, base + winSize - 16},
		"around all addresses": {good.Desc, good.Avail, 1<<64 - 16},
		"overlap":              {good.Desc, good.Desc + 32, good.Used},
		"all at 0":             {},
	} {
		bad := good
		bad.Desc, bad.Avail, bad.Used = l.desc, l.avail, l.used
		assert.Equal(t, r.enable(0, bad), Refused, name)
		assert.Equal(t, r.load(RegQueueReady), uint32(0), name)
	}
	r.q(0).zero()
	assert.Equal(t, r.enable(0, good), Done)
	r.must(RegStatus, 15)
	r.q(0).mustServe()
}

func TestDRV_27_QueueReadyValues(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	r.must(RegQueueSel, 0)
	assert.Equal(t, r.write(RegQueueReady, 1), Refused, "features are not agreed on")
	r.accept(r.offered())
	assert.Equal(t, r.write(RegQueueReady, 1), Refused, "it has no addresses")
	r.q(0).zero()
	r.must(RegQueueSize, ringSize)
	assert.Equal(t, r.enable(0, r.q(0).layout()), Done)
	r.must(RegQueueReady, 1)
	for _, v := range []uint32{2, 3, 0xffffffff} {
		assert.Equal(t, r.write(RegQueueReady, v), Refused)
	}
	assert.Equal(t, r.load(RegQueueReady), uint32(1))
	r.must(RegStatus, 15)
	r.q(0).mustServe()
}

func TestDRV_42_SelectedBeyondEverything(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	r.accept(r.offered())
	r.must(RegQueueSel, 2)
	for _, reg := range []uint32{RegQueueSize, RegQueueDescLow, RegQueueReady, RegQueueReset} {
		assert.Equal(t, r.write(reg, 1), Refused)
	}
	assert.Equal(t, r.load(RegQueueReady), uint32(0))
	assert.Equal(t, r.load(RegQueueSizeMax), uint32(0))
}
