package hvl2

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/virtio"
)

// quietly rings a few times and proves that the device did not touch the queue, nor tell of it.
func (q *vq) quietly() {
	r := q.r
	r.t.Helper()
	image := func() []byte {
		p := make([]byte, memSize)
		r.span(base+memOff, memSize).ReadAt(p, 0)
		return p
	}
	before, used, conf, rings := image(), r.load(OffUsedEvents), r.load(OffConfigEvents), r.rings.Load()
	for range 3 {
		r.ring()
	}
	assert.Assert(r.t, bytes.Equal(image(), before))
	assert.Equal(r.t, r.load(OffUsedEvents), used)
	assert.Equal(r.t, r.load(OffConfigEvents), conf)
	assert.Equal(r.t, r.rings.Load(), rings, "no ring either")
}

func TestSTS_01_NothingConsumedBeforeDriverOK(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	r.prepare(1)
	r.q(0).offer(0, "early")
	r.q(0).quietly()
	r.must(RegStatus, 15) // and no ring behind it
	_, answer := r.q(0).came()
	assert.Equal(t, answer, "early")
}

func TestSTS_02_NoEventBeforeDriverOK(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	r.prepare(2)
	r.q(0).offer(0, "a")
	r.q(1).offer(0, "b")
	rings := r.rings.Load()
	r.ring()
	assert.Equal(t, r.load(OffUsedEvents), uint32(0))
	assert.Equal(t, r.load(OffConfigEvents), uint32(0))
	assert.Equal(t, r.rings.Load(), rings)
}

// breakRing makes the available index of queue 0 jump, and waits for what the device makes of it.
func (r *rig) breakRing() {
	r.t.Helper()
	r.span(r.q(0).layout().Avail, 4).Store32(0, 0x7777<<16)
	r.ring()
	r.until("DEVICE_NEEDS_RESET", func() bool { return r.status()&virtio.NeedsReset != 0 })
}

func TestSTS_03_NeedsResetOnABrokenRing(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(1)
	r.q(0).mustServe()
	r.breakRing()
	assert.Equal(t, r.load(RegStatus), uint32(0x4f))
	for _, write := range [][2]uint32{{RegQueueSel, 0}, {RegStatus, 15}, {RegQueueReady, 0}, {RegConfig, 0}} {
		assert.Equal(t, r.write(write[0], write[1]), Broken, "%#x", write[0])
		assert.Equal(t, r.load(RegStatus), uint32(0x4f))
	}
	r.must(RegStatus, 0x80|15)
	assert.Equal(t, r.load(RegStatus), uint32(0xcf))
	r.up(1)
	r.q(0).mustServe()
}

func TestSTS_04_ConfigEventAfterNeedsReset(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(1)
	conf, rings := r.load(OffConfigEvents), r.rings.Load()
	r.breakRing()
	assert.Equal(t, r.load(OffConfigEvents), conf+1)
	assert.Assert(t, r.rings.Load() > rings)
	assert.Equal(t, r.load(OffConfigEvents), conf+1, "once")

	// Without DRIVER_OK there is nobody to tell.
	b := inOrder()
	b.info.ConfigLen = 4
	r = newRig(t, b)
	r.attach()
	r.accept(r.offered())
	conf = r.load(OffConfigEvents)
	b.config = func([]byte, int) { panic("a bug") }
	r.must(RegQueueSel, 0)
	r.until("DEVICE_NEEDS_RESET", func() bool {
		r.ring()
		return r.status() == 0x4b
	})
	assert.Equal(t, r.load(OffConfigEvents), conf)
}

func TestSTS_05_StatusIsZeroAtFirstAndAfterReset(t *testing.T) {
	r := newRig(t, inOrder())
	assert.Equal(t, r.load(RegStatus), uint32(0))
	r.up(1)
	r.must(RegStatus, 0)
	assert.Equal(t, r.load(RegStatus), uint32(0))
	r.up(1)
	r.breakRing()
	r.must(RegStatus, 0)
	assert.Equal(t, r.load(RegStatus), uint32(0))
}

func TestSTS_06_FeaturesOKReadsBackOnlyIfAccepted(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	r.accept(virtio.FeatureSet(virtio.Version1, 7)) // 7 is not offered
	assert.Equal(t, r.status(), virtio.Acknowledge|virtio.Driver)
	r.must(RegDriverFeaturesSel, 0)
	r.must(RegDriverFeatures, 0)
	r.must(RegStatus, 11)
	assert.Equal(t, r.status(), virtio.Acknowledge|virtio.Driver|virtio.FeaturesOK)
}

func TestSTS_07_QueuesLiveFromDriverOKToReset(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(2)
	r.q(0).mustServe()
	r.must(RegStatus, 0)
	assert.Assert(t, !r.slot.Stats().Live)
	r.q(0).offer(4, "late")
	r.q(1).offer(4, "late")
	r.q(0).quietly()
}

func TestDRV_20_UnofferedAndUnfoundedFeatures(t *testing.T) {
	r := newRig(t, inOrder())
	for name, f := range map[string]virtio.Features{
		"not offered":     virtio.FeatureSet(virtio.Version1, 5),
		"of another word": virtio.FeatureSet(virtio.Version1, 127),
		"no VERSION_1":    virtio.FeatureSet(virtio.IndirectDesc),
		"no base":         virtio.FeatureSet(virtio.AccessPlatform),
	} {
		r.attach()
		r.accept(f)
		assert.Equal(t, r.status()&virtio.FeaturesOK, virtio.Status(0), name)
	}
	r.attach()
	r.must(RegDriverFeaturesSel, 4)
	assert.Equal(t, r.write(RegDriverFeatures, 1), Refused, "there is no such window")
}

func TestDRV_21_FeaturesAreFrozen(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	r.prepare(1)
	r.must(RegDriverFeaturesSel, 0)
	assert.Equal(t, r.write(RegDriverFeatures, 0), Refused)
	assert.Equal(t, r.load(recDriver), r.slot.dev.Offered().Word(0), "the record is not touched either")
	r.must(RegStatus, 15)
	assert.Equal(t, r.slot.Stats().Features, r.slot.dev.Offered())
}

func TestDRV_22_DriverOKWithoutFeaturesOK(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	r.must(RegStatus, 7)
	assert.Equal(t, r.status(), virtio.Acknowledge|virtio.Driver)
	assert.Assert(t, !r.slot.Stats().Live)
}

func TestDRV_23_StatusTransitions(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(1)
	for _, v := range []uint32{1, 3, 11, 7, 0x40} {
		assert.Equal(t, r.write(RegStatus, v), Refused, "%#x clears bits", v)
		assert.Equal(t, r.load(RegStatus), uint32(15))
	}
	r.must(RegStatus, 15)
	r.must(RegStatus, 0x5f) // NEEDS_RESET is not the driver's, and 0x10 nobody's
	assert.Equal(t, r.load(RegStatus), uint32(15))
	r.q(0).mustServe()
	r.must(RegStatus, 0x80)
	assert.Equal(t, r.load(RegStatus), uint32(0x8f))
	r.q(0).offer(4, "late")
	r.q(0).quietly()
	r.up(1)
	r.q(0).mustServe()
}

func TestDRV_35_NotificationBeforeDriverOKAndAfterReset(t *testing.T) {
	r := newRig(t, inOrder())
	r.ring()
	r.up(1)
	r.must(RegStatus, 0)
	r.q(0).quietly()
	r.prepare(1)
	r.q(0).offer(0, "x")
	r.q(0).quietly()
}

// A backend that gives up tells its driver.
func TestSTS_03_BackendGivesUp(t *testing.T) {
	b := inOrder()
	b.serve = func(context.Context, *virtio.Session) error { return errors.New("out of paper") }
	r := newRig(t, b)
	r.attach()
	r.prepare(1)
	r.begin(RegStatus, 15)
	r.until("the news", func() bool { return r.load(RegStatus) == 0x4f })
	r.until("its acknowledgement", r.acked)
	assert.Assert(t, r.load(OffConfigEvents) != r.load(OffConfigSeen))
	assert.Assert(t, is.Contains(r.log.String(), "out of paper"))
}
