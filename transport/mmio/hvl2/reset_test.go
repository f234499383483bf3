package hvl2

import (
	"context"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// slow is a device that lets go of nothing before it is told to: inside says that it has a
// request, and go lets it return.
type slow struct {
	toy
	inside, goOn chan struct{}
}

func newSlow() *slow {
	d := &slow{toy: *inOrder(), inside: make(chan struct{}, 1), goOn: make(chan struct{})}
	d.serve = func(ctx context.Context, s *virtio.Session) error {
		var c vring.Chain
		for {
			if err := s.Queue(0).Next(ctx, &c); err != nil {
				return err
			}
			post(d.inside)
			<-d.goOn
			c.Write([]byte("much too late"))
			s.Queue(0).Done(&c)
		}
	}
	return d
}

// busy brings the device up and gives it a request that it does not come back from.
func (r *rig) busy(d *slow) {
	r.up(2)
	r.q(0).offer(0, "x")
	r.ring()
	<-d.inside
}

// inside stops the device in the middle of an access to a queue's memory; the slot's toy is a
// redoing one.
func (q *vq) inside() (goOn func()) {
	q.r.t.Helper()
	there, leave := make(chan struct{}), make(chan struct{})
	q.r.stops[q.i].Store(&stop{there, leave})
	q.offer(2*(q.avail%(ringSize/2)), "x")
	q.r.ring()
	<-there
	return func() { close(leave) }
}

// poison fills the memory of a queue and proves afterwards that nobody else stored there.
func (q *vq) poison() (check func()) {
	at := q.r.span(q.layout().Desc, 0x4000)
	for off := uint64(0); off < at.Len(); off += 4 {
		at.Store32(off, 0xdead0000|uint32(off))
	}
	return func() {
		q.r.t.Helper()
		at := q.r.span(q.layout().Desc, 0x4000) // where it is by now
		for off := uint64(0); off < at.Len(); off += 4 {
			if v := at.Load32(off); v != 0xdead0000|uint32(off) {
				q.r.t.Fatalf("%#x was stored at %#x of queue %d", v, off, q.i)
			}
		}
	}
}

func TestRST_01_StatusIsZeroWhenTheResetIsAcknowledged(t *testing.T) {
	d := newSlow()
	r := newRig(t, d)
	r.busy(d)
	r.begin(RegStatus, 0)
	for range 5 {
		r.ring()
		assert.Assert(t, !r.acked(), "the backend has a request")
		assert.Equal(t, r.load(RegStatus), uint32(15))
	}
	close(d.goOn)
	r.until("acknowledgement", r.acked)
	assert.Equal(t, Result(r.load(OffTxnResult)), Done)
	assert.Equal(t, r.load(RegStatus), uint32(0))
}

func TestRST_02_NothingIsTouchedAfterTheAcknowledgement(t *testing.T) {
	d := newSlow()
	r := newRig(t, d)
	r.busy(d)
	r.begin(RegStatus, 0)
	assert.Assert(t, !r.acked())
	close(d.goOn)
	r.until("acknowledgement", r.acked)
	check := r.q(0).poison()
	r.q(0).quietly()
	check()
	// The device is as new.
	r.up(2)
	r.q(0).offer(0, "x")
	r.ring()
	_, answer := r.q(0).came()
	assert.Equal(t, answer, "much too late")
}

func TestHVL_03_ResetIsAcknowledgedWhenQuiesced(t *testing.T) {
	r := newRig(t, redoing())
	r.up(1)
	r.q(0).mustServe()
	goOn := r.q(0).inside()
	beat := r.load(OffBeat)
	r.begin(RegStatus, 0)
	r.ring()
	assert.Assert(t, !r.acked())
	assert.Assert(t, r.load(OffBeat) != beat, "the driver sees that somebody is there")
	goOn()
	r.until("acknowledgement", r.acked)
	check := r.q(0).poison()
	r.q(0).quietly()
	check()
}

func TestHVL_08_BeatMovesWhileADriverWaits(t *testing.T) {
	d := newSlow()
	r := newRig(t, d)
	r.busy(d)
	r.begin(RegStatus, 0)
	beats := map[uint32]bool{}
	r.until("four beats without a ring of the driver's", func() bool {
		beats[r.load(OffBeat)] = true
		return len(beats) > 3
	})
	close(d.goOn)
	r.until("acknowledgement", r.acked)
	beat := r.load(OffBeat)
	r.up(1)
	assert.Equal(t, r.load(OffBeat), beat, "still otherwise")
}

func TestRST_03_ResetClearsInterruptsAndQueues(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(2)
	r.q(0).mustServe()
	r.until("the event", func() bool { return r.load(OffUsedEvents) != r.load(OffUsedSeen) })
	used, conf := r.load(OffUsedEvents), r.load(OffConfigEvents)
	r.must(RegStatus, 0)
	for i := range uint32(3) {
		r.must(RegQueueSel, i)
		assert.Equal(t, r.load(RegQueueReady), uint32(0))
	}
	assert.Equal(t, r.load(RegInterruptStatus), uint32(0))
	assert.Equal(t, r.load(OffUsedEvents), used, "the counters stand still, attach copies them")
	assert.Equal(t, r.load(OffConfigEvents), conf)
}

func TestRST_04_ResetForgetsWhatWasNegotiated(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(2)
	r.must(RegQueueSel, 1)
	r.must(RegDeviceFeaturesSel, 1)
	r.must(RegSHMSel, 3)
	r.must(RegStatus, 0)
	assert.Equal(t, r.load(RegDeviceFeatures), r.slot.dev.Offered().Word(0))
	assert.Equal(t, r.load(RegQueueSizeMax), uint32(virtio.DefaultQueueSize), "of queue 0")
	for off := uint64(recState); off < recQueues+2*queueStride; off += 4 {
		switch {
		case off >= recOffered && off < recOffered+16, off >= recVersion && off <= recInflightLen: // not negotiated
		default:
			assert.Equal(t, r.load(off), uint32(0), "record word %#x", off)
		}
	}
	r.must(RegStatus, 1)
	r.must(RegStatus, 3)
	r.must(RegStatus, 11)
	assert.Equal(t, r.status()&virtio.FeaturesOK, virtio.Status(0), "no feature is left over")
}

func TestQRST_01_ResetQueueIsLeftAlone(t *testing.T) {
	r := newRig(t, redoing())
	r.up(2)
	r.q(0).mustServe()
	r.q(1).mustServe()
	goOn := r.q(1).inside()
	r.must(RegQueueSel, 1)
	r.begin(RegQueueReset, 1)
	r.ring()
	assert.Assert(t, !r.acked())
	assert.Equal(t, r.load(RegQueueReset), uint32(1), "an onlooker sees that it runs")
	goOn()
	r.until("acknowledgement", r.acked)
	used, rings := r.load(OffUsedEvents), r.rings.Load()
	r.slot.NotifyUsed(1) // a thread that published before
	assert.Equal(t, r.load(OffUsedEvents), used)
	assert.Equal(t, r.rings.Load(), rings)
	check := r.q(1).poison()
	r.q(0).mustServe()
	r.q(0).mustServe()
	check()
}

func TestQRST_02_ResetQueueBeginsAgain(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(2)
	for range 5 {
		r.q(1).mustServe()
	}
	r.must(RegQueueSel, 1)
	r.must(RegQueueReset, 1)
	for off := queueRecord(1); off < queueRecord(2); off += 4 {
		assert.Equal(t, r.load(off), uint32(0))
	}
	assert.Equal(t, r.write(RegQueueReady, 1), Refused, "it has no place any more")
	r.q(1).zero()
	assert.Equal(t, r.enable(1, r.q(1).layout()), Done)
	r.q(1).mustServe()
	assert.Equal(t, r.q(1).usedIdx(), uint16(1))
	r.q(0).mustServe()
}

func TestQRST_03_AnotherPlaceAfterAReset(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(2)
	r.q(1).mustServe()
	r.must(RegQueueSel, 1)
	r.must(RegQueueReset, 1)
	check := r.q(1).poison()
	elsewhere := r.q(2) // where queue 2 would be, if there were one
	elsewhere.zero()
	l := elsewhere.layout()
	assert.Equal(t, r.enable(1, l), Done)
	elsewhere.mustServe()
	check()
	assert.Equal(t, r.slot.Stats().Queues[1].Size, int(l.Size))
}

func TestMMIO_09_QueueNotReadyIsNotTouched(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(1)
	r.q(1).zero()
	r.q(1).offer(0, "early")
	r.q(1).quietly()
	assert.Equal(t, r.enable(1, r.q(1).layout()), Done) // on a live device
	_, answer := r.q(1).came()
	assert.Equal(t, answer, "early")
}

func TestMMIO_10_QueueReadyZeroIsAcknowledgedWhenStopped(t *testing.T) {
	r := newRig(t, redoing())
	r.up(2)
	r.q(1).mustServe()
	goOn := r.q(1).inside()
	r.must(RegQueueSel, 1)
	r.begin(RegQueueReady, 0)
	r.ring()
	assert.Assert(t, !r.acked())
	goOn()
	r.until("acknowledgement", r.acked)
	assert.Equal(t, r.load(RegQueueReady), uint32(0))
	check := r.q(1).poison()
	r.q(0).mustServe()
	check()
	r.must(RegQueueReady, 0) // again, and at status 0, as Linux does
	r.must(RegStatus, 0)
	r.must(RegQueueSel, 1)
	r.must(RegQueueReady, 0)
}

// A device that has just stopped has not let go of its memory yet.
func TestMMIO_10_QueueOfAStoppedDevice(t *testing.T) {
	r := newRig(t, redoing())
	r.up(2)
	goOn := r.q(1).inside()
	r.must(RegQueueSel, 1)
	r.slot.dev.End() // as from a thread of the backend
	r.begin(RegQueueReady, 0)
	assert.Assert(t, !r.acked())
	goOn()
	r.until("acknowledgement", r.acked)
}

func TestMMIO_14_ResetOverEverything(t *testing.T) {
	for _, version := range []uint32{2, 3} {
		r := newRig(t, inOrder(), func(o *Options) { o.Version = version })
		assert.Equal(t, r.load(RegVersion), version)
		r.up(2)
		r.q(0).mustServe()
		r.must(RegStatus, 0)
		assert.Equal(t, r.load(RegStatus), uint32(0), "complete at once, so a poll ends at once")
		assert.Equal(t, r.load(RegInterruptStatus), uint32(0))
		r.must(RegStatus, 0) // at Status 0 too
		r.up(1)
		r.q(0).mustServe()
	}
}

func TestMMIO_18_QueueResetRegister(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(2)
	assert.Equal(t, r.load(RegQueueReset), uint32(0))
	r.must(RegQueueSel, 1)
	r.must(RegQueueReset, 1)
	assert.Equal(t, r.load(RegQueueReset), uint32(0))
	assert.Equal(t, r.load(RegQueueReady), uint32(0))
	r.q(1).zero()
	assert.Equal(t, r.enable(1, r.q(1).layout()), Done)
	assert.Equal(t, r.load(RegQueueReset), uint32(0))
	assert.Equal(t, r.write(RegQueueReset, 0), Refused)
	assert.Equal(t, r.write(RegQueueReset, 2), Refused)
	r.q(1).mustServe()
	r.must(RegStatus, 0)
	assert.Equal(t, r.load(RegQueueReset), uint32(0))
}

func TestDRV_43_QueueResetNotNegotiated(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	r.accept(virtio.FeatureSet(virtio.Version1))
	r.q(0).zero()
	assert.Equal(t, r.enable(0, r.q(0).layout()), Done)
	r.must(RegStatus, 15)
	assert.Equal(t, r.write(RegQueueReset, 1), Refused)
	r.q(0).offer(0, "still there")
	r.ring()
	_, answer := r.q(0).came()
	assert.Equal(t, answer, "still there")
}

func TestDRV_30_ResetStorm(t *testing.T) {
	d := newSlow()
	r := newRig(t, d)
	r.busy(d)
	r.begin(RegStatus, 0)
	for i := range uint32(20) { // nothing that is stored meanwhile is believed
		r.store(OffTxnVal, i)
		r.store(OffTxnCmd, Command(RegStatus, 4))
		r.ring()
		assert.Assert(t, !r.acked())
	}
	close(d.goOn)
	r.until("acknowledgement", r.acked)
	for range 200 {
		r.up(1)
		r.q(0).offer(0, "x")
		r.ring()
		r.must(RegStatus, 0)
	}
	check := r.q(0).poison()
	r.q(0).quietly()
	check()
}
