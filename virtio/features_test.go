package virtio_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"gotest.tools/v3/assert"
)

// set shortens the tables.
func set(bits ...virtio.Feature) virtio.Features { return virtio.FeatureSet(bits...) }

// offer makes a device with these features of its own and of the transport.
func offer(info virtio.Info, transport virtio.Features) (*virtio.Device, error) {
	return virtio.NewDevice("toy", &toy{info: info}, nil, virtio.Options{Offer: transport})
}

func TestFEAT_01_NothingOfferedWithoutItsPrerequisite(t *testing.T) {
	for _, bit := range []virtio.Feature{virtio.AccessPlatform, virtio.OrderPlatform, virtio.InOrder} {
		info := virtio.Info{InOrder: true}
		_, err := offer(info, set(bit))
		assert.ErrorContains(t, err, "needs feature 32", "feature %d", bit)
		_, err = offer(info, set(bit, virtio.Version1))
		assert.NilError(t, err, "feature %d", bit)
	}
}

// random is a subset of f.
func random(f virtio.Features, rnd *rand.Rand) virtio.Features {
	return f.And(virtio.Features{rnd.Uint64(), rnd.Uint64()})
}

// even refuses sets with an odd number of device bits.
func even(f virtio.Features) error {
	n := 0
	for b := range virtio.Feature(24) {
		if f.Has(b) {
			n++
		}
	}
	if n%2 != 0 {
		return errors.New("odd")
	}
	return nil
}

func TestFEAT_02_EveryValidSubsetIsAccepted(t *testing.T) {
	b := &picky{toy: toy{info: virtio.Info{Features: set(0, 1, 2, 5, 23, 50, 127), InOrder: true}}, negotiate: even}
	r := virtiotest.NewRig(t, b, virtiotest.Options{Offer: set(virtio.IndirectDesc, virtio.EventIdx,
		virtio.Version1, virtio.AccessPlatform, virtio.InOrder, virtio.OrderPlatform)})
	rnd := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range 500 {
		f := random(r.Device.Offered(), rnd)
		valid := f.Has(virtio.Version1) && even(f) == nil
		err := r.Negotiate(f)
		assert.Equal(t, err == nil, valid, "%v: %v", f, err)
		if valid {
			accepted++
		}
		assert.NilError(t, r.Reset())
	}
	assert.Assert(t, accepted > 50)
}

func TestFEAT_03_OtherwiseFeaturesOKFails(t *testing.T) {
	b := &picky{toy: toy{info: virtio.Info{Features: set(0, 1)}}, negotiate: func(f virtio.Features) error {
		if f.Has(1) && !f.Has(0) {
			return errors.New("feature 1 needs feature 0")
		}
		return nil
	}}
	r := newRig(t, b)
	for _, tt := range []struct {
		name string
		f    virtio.Features
		ok   bool
	}{
		{"all", r.Device.Offered(), true},
		{"not offered", set(virtio.Version1, 2), false},
		{"not offered, high", set(virtio.Version1, 100), false},
		{"the device refuses", set(virtio.Version1, 1), false},
		{"not offered with its base", set(virtio.Version1, virtio.OrderPlatform), false},
		{"least", set(virtio.Version1), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := r.Negotiate(tt.f)
			assert.Equal(t, err == nil, tt.ok, "%v", err)
			assert.NilError(t, r.Reset())
		})
	}
}

func TestFEAT_04_NothingReservedIsOffered(t *testing.T) {
	for b := range virtio.Feature(virtio.FeatureBits) {
		info := virtio.Info{Features: set(b)}
		_, err := offer(info, set())
		assert.Equal(t, err == nil, b < 24 || b > 49, "as feature %d of a device: %v", b, err)

		_, err = offer(virtio.Info{InOrder: true}, set(virtio.Version1).With(set(b)))
		switch b {
		case virtio.AnyLayout, virtio.IndirectDesc, virtio.EventIdx, virtio.Version1,
			virtio.AccessPlatform, virtio.InOrder, virtio.OrderPlatform, virtio.RingReset:
			assert.NilError(t, err, "as feature %d of the transport", b)
		default:
			assert.Assert(t, err != nil, "as feature %d of the transport", b)
		}
	}
}

func TestFEAT_05_WhatWasAcceptedIsAcceptedAgain(t *testing.T) {
	r := newRig(t, &picky{negotiate: even, toy: toy{info: virtio.Info{Features: set(3, 4)}}})
	for range 100 {
		assert.ErrorContains(t, r.Negotiate(set(virtio.Version1, 3)), "features")
		assert.NilError(t, r.Reset())
		assert.NilError(t, r.Up(r.Device.Offered()))
		mustEcho(t, r)
		assert.NilError(t, r.Reset())
	}
}

// negotiated is what a session finds when the driver asks for f.
func negotiated(t *testing.T, legacy bool, f virtio.Features) virtio.Features {
	found := make(chan virtio.Features, 1)
	b := &toy{info: virtio.Info{Features: set(7)}, serve: func(ctx context.Context, s *virtio.Session) error {
		found <- s.Features()
		<-ctx.Done()
		return nil
	}}
	r := virtiotest.NewRig(t, b, virtiotest.Options{Legacy: legacy})
	assert.NilError(t, r.Up(f))
	defer func() { assert.NilError(t, r.Reset()) }()
	assert.DeepEqual(t, r.Device.Stats().Features, f)
	return <-found
}

func TestFEAT_06_LegacyDriver(t *testing.T) {
	f := set(7, virtio.EventIdx)
	assert.DeepEqual(t, negotiated(t, true, f), f)
	f = f.With(set(virtio.Version1))
	assert.DeepEqual(t, negotiated(t, false, f), f)
}

func TestFEAT_07_Version1IsOffered(t *testing.T) {
	d, err := offer(virtio.Info{Features: set(2, 64)}, set(virtio.Version1))
	assert.NilError(t, err)
	for n, want := range []uint32{1 << 2, 1, 1, 0, 0} {
		assert.Equal(t, d.Offered().Word(uint32(n)), want, "word %d", n)
	}
}

func TestFEAT_08_Version1IsRequired(t *testing.T) {
	r := newRig(t, &toy{})
	assert.ErrorContains(t, r.Negotiate(set(virtio.EventIdx)), "status is acknowledge+driver")
	// A device without it does not ask for it.
	r = virtiotest.NewRig(t, &toy{}, virtiotest.Options{Offer: set(virtio.EventIdx)})
	assert.NilError(t, r.Negotiate(set(virtio.EventIdx)))
}

func TestFEAT_10_InOrderOnlyForDevicesThatAre(t *testing.T) {
	_, err := offer(virtio.Info{}, set(virtio.Version1, virtio.InOrder))
	assert.ErrorContains(t, err, "IN_ORDER")
	_, err = offer(virtio.Info{InOrder: true}, set(virtio.Version1, virtio.InOrder))
	assert.NilError(t, err)
}

func TestFEAT_12_NoSRIOV(t *testing.T) {
	_, err := offer(virtio.Info{}, set(virtio.Version1, virtio.SRIOV))
	assert.ErrorContains(t, err, "{37} are not to be offered")
}

func TestFEAT_13_NotifyOnEmptyIsNotOffered(t *testing.T) {
	_, err := offer(virtio.Info{}, set(virtio.NotifyOnEmpty))
	assert.ErrorContains(t, err, "{24} are not to be offered")
}

func TestFEAT_14_AnyLayout(t *testing.T) {
	d, err := offer(virtio.Info{}, set(virtio.AnyLayout))
	assert.NilError(t, err)
	assert.Assert(t, d.Offered().Has(virtio.AnyLayout))
	_, err = offer(virtio.Info{}, set(virtio.AnyLayout, 30))
	assert.ErrorContains(t, err, "{30} are not to be offered")
}

func TestDRV_20_UnofferedFeature(t *testing.T) {
	r := newRig(t, &toy{info: virtio.Info{Features: set(4)}})
	f := set(4, 5, 99, virtio.Version1)
	assert.DeepEqual(t, r.Device.SetDriverFeatures(f), set(5, 99))
	assert.DeepEqual(t, r.Device.DriverFeatures(), f)
	s := r.Device.SetStatus(ack | driver | features)
	assert.Equal(t, s, ack|driver)
	assert.Equal(t, r.Device.Stats().Faults, uint64(1))

	// A legacy driver gets what was offered of it: nobody asks (2.2.3).
	assert.DeepEqual(t, negotiated(t, true, set(7)), set(7))
}

func TestDRV_21_FeaturesFreeze(t *testing.T) {
	b := &toy{info: virtio.Info{Features: set(1, 2)}}
	r := newRig(t, b)
	d := r.Device
	want := set(1, virtio.Version1)
	assert.NilError(t, r.Negotiate(want))
	d.SetDriverFeatures(d.Offered())
	assert.DeepEqual(t, d.DriverFeatures(), want)
	assert.NilError(t, r.Enable(0))
	assert.NilError(t, r.Go())
	d.SetDriverFeatures(d.Offered())
	assert.DeepEqual(t, d.Stats().Features, want)
	assert.NilError(t, r.Reset())
	d.SetDriverFeatures(d.Offered())
	assert.DeepEqual(t, d.DriverFeatures(), d.Offered())

	// Without FEATURES_OK, the first queue freezes them: its ring was made for them.
	r = virtiotest.NewRig(t, b, virtiotest.Options{Legacy: true})
	want = set(2)
	r.Device.SetDriverFeatures(want)
	assert.NilError(t, r.Enable(0))
	r.Device.SetDriverFeatures(set(1))
	assert.DeepEqual(t, r.Device.DriverFeatures(), want)
	r.Device.DisableQueue(0)
	r.Device.SetDriverFeatures(set(1))
	assert.DeepEqual(t, r.Device.DriverFeatures(), set(1))
}

// A legacy driver asks nobody, but a backend never meets a set that it refused.
func TestLegacyFeaturesThatDoNotGoTogether(t *testing.T) {
	b := &picky{toy: toy{info: virtio.Info{Features: set(0, 1)}}, negotiate: even}
	r := virtiotest.NewRig(t, b, virtiotest.Options{Legacy: true})
	assert.ErrorContains(t, r.Up(set(0)), "features: odd")
	assert.Assert(t, !r.Device.Live())
	assert.NilError(t, r.Reset())
	assert.NilError(t, r.Up(set(0, 1)))
	mustEcho(t, r)
	assert.NilError(t, r.Reset())
}

func TestNegotiatePanics(t *testing.T) {
	r := newRig(t, &picky{negotiate: func(virtio.Features) error { panic("boom") }})
	assert.ErrorContains(t, r.Negotiate(r.Device.Offered()), "status is acknowledge+driver")
}

func TestNewDeviceRefuses(t *testing.T) {
	for _, tt := range []struct {
		info virtio.Info
		want string
	}{
		{virtio.Info{Queues: []uint16{}}, "at least one queue"},
		{virtio.Info{Queues: []uint16{16, 24}}, "queue 1: maximum size 24"},
		{virtio.Info{Queues: []uint16{32769}}, "queue 0: maximum size 32769"},
		{virtio.Info{ConfigLen: -1}, "configuration space of -1 bytes"},
	} {
		_, err := offer(tt.info, set())
		assert.ErrorContains(t, err, tt.want)
		assert.ErrorContains(t, err, "toy: ")
	}
}

func TestFeatures(t *testing.T) {
	f := set(0, 31, 32, 63, 64, 127)
	for b := range virtio.Feature(virtio.FeatureBits) {
		assert.Equal(t, f.Has(b), strings.Contains("|0|31|32|63|64|127|", "|"+strings.Trim(set(b).String(), "{}")+"|"))
	}
	assert.Equal(t, f.String(), "{0,31,32,63,64,127}")
	assert.Equal(t, virtio.Features{}.String(), "{}")

	var copied virtio.Features
	for n := range uint32(6) {
		copied = copied.SetWord(n, f.Word(n))
	}
	assert.Equal(t, copied, f)
	assert.Equal(t, f.SetWord(1, 2), set(0, 31, 33, 64, 127))

	g := set(0, 1, 64, 65)
	assert.Equal(t, f.And(g), set(0, 64))
	assert.Equal(t, f.With(g), set(0, 1, 31, 32, 63, 64, 65, 127))
	assert.Equal(t, f.Without(g), set(31, 32, 63, 127))
}
