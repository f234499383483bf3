package virtio_test

import (
	"testing"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring"
	"gotest.tools/v3/assert"
)

const (
	ack      = virtio.Acknowledge
	driver   = virtio.Driver
	features = virtio.FeaturesOK
	driverOK = virtio.DriverOK
)

// offerEarly enables queue 0 and fills it at status 0, then goes through the states up to
// FEATURES_OK with a kick in each, and calls look after each.
func offerEarly(t *testing.T, r *virtiotest.Rig, look func(virtio.Status)) {
	r.Device.SetDriverFeatures(r.Device.Offered())
	assert.NilError(t, r.Enable(0))
	d, _ := pingPong(r.Memory)
	r.Queue(0).Offer(d...)
	for _, s := range []virtio.Status{ack, ack | driver, ack | driver | features} {
		assert.Equal(t, r.Device.SetStatus(s), s)
		r.Device.Kick()
		look(s)
	}
}

func TestSTS_01_NothingConsumedBeforeDriverOK(t *testing.T) {
	r := newRig(t, &toy{})
	offerEarly(t, r, func(s virtio.Status) {
		assert.Equal(t, r.Device.Stats().Sessions, uint64(0), "at status %v", s)
		assert.Equal(t, r.Queue(0).UsedIdx(), uint16(0), "at status %v", s)
	})
	// Then it is served, without another kick.
	assert.NilError(t, r.Go())
	e, err := r.Queue(0).Wait()
	assert.NilError(t, err)
	assert.Equal(t, e.Len, uint32(4))
	assert.NilError(t, r.Reset())
}

func TestSTS_02_NoNotificationBeforeDriverOK(t *testing.T) {
	r := newRig(t, &toy{})
	offerEarly(t, r, func(s virtio.Status) {
		assert.Assert(t, !r.Device.Live(), "at status %v", s)
		assert.Equal(t, r.UsedNotifications(0)+r.ConfigNotifications(), uint64(0), "at status %v", s)
	})
	assert.NilError(t, r.Go())
	eventually(t, r, "the notification of what waited", func() bool { return r.UsedNotifications(0) == 1 })
	assert.NilError(t, r.Reset())
}

func TestSTS_03_NeedsReset(t *testing.T) {
	r := up(t, &toy{}, virtiotest.Options{})
	mustEcho(t, r)
	breakRing(r)
	eventually(t, r, "DEVICE_NEEDS_RESET", func() bool { return r.Device.Status()&virtio.NeedsReset != 0 })
	assert.ErrorIs(t, r.Device.Broken(), vring.ErrAvailJump)
	assert.Assert(t, !r.Device.Live())
	assert.Assert(t, r.Device.Stats().Broken != "")

	// It recovers by a reset, and only by that.
	r.Device.SetStatus(r.Device.Status() | ack)
	assert.Assert(t, r.Device.Status()&virtio.NeedsReset != 0)
	assert.NilError(t, r.Reset())
	assert.NilError(t, r.Device.Broken())
	assert.NilError(t, r.Up(r.Device.Offered()))
	mustEcho(t, r)
}

func TestSTS_04_ConfigNotificationOfNeedsReset(t *testing.T) {
	r := up(t, &toy{}, virtiotest.Options{})
	breakRing(r)
	eventually(t, r, "the configuration-change notification", func() bool { return r.ConfigNotifications() == 1 })
	assert.Assert(t, r.Device.Status()&virtio.NeedsReset != 0, "it comes after the status")

	// Before DRIVER_OK the device says nothing.
	r = newRig(t, &toy{info: virtio.Info{ConfigLen: 4}, readConfig: func([]byte, int) { panic("broken") }})
	assert.NilError(t, r.Negotiate(r.Device.Offered()))
	r.Device.ReadConfig(make([]byte, 4), 0)
	assert.Assert(t, r.Device.Status()&virtio.NeedsReset != 0)
	assert.Equal(t, r.ConfigNotifications(), uint64(0))
}

func TestSTS_05_StatusIsZeroInitiallyAndAfterReset(t *testing.T) {
	r := newRig(t, &toy{})
	assert.Equal(t, r.Device.Status(), virtio.Status(0))

	assert.NilError(t, r.Up(r.Device.Offered()))
	breakRing(r)
	eventually(t, r, "DEVICE_NEEDS_RESET", func() bool { return r.Device.Status()&virtio.NeedsReset != 0 })
	r.Device.SetStatus(r.Device.Status() | virtio.Failed)
	assert.Equal(t, r.Device.Status(), ack|driver|features|driverOK|virtio.NeedsReset|virtio.Failed)
	assert.NilError(t, r.Reset())
	assert.Equal(t, r.Device.Status(), virtio.Status(0))
}

func TestSTS_06_FeaturesOKReadsBackWhenAccepted(t *testing.T) {
	r := newRig(t, &toy{})
	d := r.Device
	d.SetStatus(ack | driver)
	d.SetDriverFeatures(virtio.FeatureSet(virtio.Version1, 5))
	assert.Equal(t, d.SetStatus(ack|driver|features), ack|driver)
	assert.Equal(t, d.Status(), ack|driver)
	// The driver may try again with less.
	d.SetDriverFeatures(virtio.FeatureSet(virtio.Version1))
	assert.Equal(t, d.SetStatus(ack|driver|features), ack|driver|features)
	assert.Equal(t, d.Status(), ack|driver|features)
}

func TestSTS_07_QueuesLiveFromDriverOKToReset(t *testing.T) {
	r := newRig(t, &toy{})
	for range 3 {
		assert.Assert(t, !r.Device.Live())
		assert.NilError(t, r.Up(r.Device.Offered()))
		assert.Assert(t, r.Device.Live() && r.Device.Enabled(0))
		mustEcho(t, r)
		assert.NilError(t, r.Reset())

		old := r.Queue(0)
		before := r.Memory.Snapshot()
		old.SetAvailIdx(old.AvailIdx() + 1)
		idx := r.Memory.Read(old.Avail+2, 2)
		r.Device.Kick()
		assert.Assert(t, !r.Device.Live() && !r.Device.Enabled(0))
		r.Memory.Write(old.Avail+2, []byte{idx[0] - 1, idx[1]})
		assert.NilError(t, before.Changed())
	}
}

func TestDRV_22_DriverOKWithoutFeaturesOK(t *testing.T) {
	r := newRig(t, &toy{})
	assert.NilError(t, r.Enable(0))
	s := r.Device.SetStatus(ack | driver | driverOK)
	assert.Equal(t, s, ack|driver)
	assert.Assert(t, !r.Device.Live())

	// Nor when the features are refused in the same write.
	s = r.Device.SetStatus(ack | driver | features | driverOK)
	assert.Equal(t, s, ack|driver)
	assert.Assert(t, !r.Device.Live())
}

func TestDRV_23_StatusTransitions(t *testing.T) {
	const failed = virtio.Failed
	for _, tt := range []struct {
		name   string
		writes []virtio.Status
		want   virtio.Status
		live   bool
	}{
		{"step by step", []virtio.Status{1, 3, 11, 15}, 15, true},
		{"all at once", []virtio.Status{15}, 15, true},
		{"driver before acknowledge", []virtio.Status{2, 3, 11, 15}, 15, true},
		{"a bit taken back", []virtio.Status{1, 3, 11, 15, 11}, 15, true},
		{"a bit taken back for another", []virtio.Status{1, 3, 5}, 3, false},
		{"FEATURES_OK taken back for DRIVER_OK", []virtio.Status{1, 3, 11, 7}, 11, false},
		{"unknown bits", []virtio.Status{1 | 16 | 32, 3 | 16}, 3, false},
		{"the device's own bit", []virtio.Status{1 | 64}, 1, false},
		{"failed", []virtio.Status{1, 3, 11, 15, 15 | failed}, 15 | failed, false},
		{"failed, on its own", []virtio.Status{1, 3, 11, 15, failed}, 15 | failed, false},
		{"failed is final", []virtio.Status{1, 3, 3 | failed, 15 | failed, 15}, 3 | failed | features, false},
		{"twice the same", []virtio.Status{1, 1, 3, 3, 11, 11, 15, 15}, 15, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, &toy{})
			r.Device.SetDriverFeatures(r.Device.Offered())
			assert.NilError(t, r.Enable(0))
			var got virtio.Status
			for _, w := range tt.writes {
				got = r.Device.SetStatus(w)
			}
			assert.Equal(t, got, tt.want)
			assert.Equal(t, r.Device.Status(), tt.want)
			assert.Equal(t, r.Device.Live(), tt.live)
			if tt.live {
				mustEcho(t, r)
			}
			assert.NilError(t, r.Reset())
		})
	}
}

func TestDRV_35_NotificationsOutsideASession(t *testing.T) {
	r := newRig(t, &toy{})
	r.Device.Kick()
	assert.NilError(t, r.Up(r.Device.Offered()))
	mustEcho(t, r)
	old := r.Queue(0)
	assert.NilError(t, r.Reset())
	before := r.Memory.Snapshot()
	for range 100 {
		r.Device.Kick()
	}
	assert.NilError(t, before.Changed())
	assert.Equal(t, r.Device.Stats().Sessions, uint64(1))
	assert.Equal(t, old.UsedIdx(), uint16(1))
}

func TestStatusString(t *testing.T) {
	assert.Equal(t, virtio.Status(0).String(), "reset")
	assert.Equal(t, (ack | driver | features | driverOK).String(), "acknowledge+driver+features-ok+driver-ok")
	assert.Equal(t, (virtio.NeedsReset | virtio.Failed | 16).String(), "needs-reset+failed+0x10")
}
