package hvl2

import (
	"math/rand/v2"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio"
)

// wide is a device with feature bits in every word that device types have some in.
func wide() *toy {
	return &toy{info: virtio.Info{InOrder: true, Features: virtio.FeatureSet(0, 5, 23, 50, 63, 64, 127)}}
}

func TestFEAT_01_OfferIsClosed(t *testing.T) {
	r := newRig(t, wide())
	r.attach()
	f := r.offered()
	for _, needs := range []virtio.Feature{virtio.AccessPlatform, virtio.OrderPlatform} {
		assert.Assert(t, f.Has(needs) && f.Has(virtio.Version1))
	}
	_, err := New("toy", wide(), Options{
		Region: r.region, Place: place(), Ring: func() {}, Wake: func() {}, Offer: virtio.FeatureSet(virtio.RingPacked),
	})
	assert.ErrorContains(t, err, "not to be offered")
}

func TestFEAT_02_EveryValidSubsetIsAccepted(t *testing.T) {
	r := newRig(t, wide())
	r.attach()
	offered := r.offered()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		f := offered.And(virtio.Features{rnd.Uint64(), rnd.Uint64()}).With(virtio.FeatureSet(virtio.Version1))
		r.attach()
		r.accept(f)
		assert.Assert(t, r.status()&virtio.FeaturesOK != 0, "%v", f)
		assert.Equal(t, r.slot.Stats().Features, f)
	}
}

func TestFEAT_03_AnythingElseIsNot(t *testing.T) {
	r := newRig(t, wide())
	r.attach()
	offered := r.offered()
	for b := range virtio.Feature(virtio.FeatureBits) {
		if offered.Has(b) {
			continue
		}
		r.attach()
		r.accept(offered.With(virtio.FeatureSet(b)))
		assert.Equal(t, r.status(), virtio.Acknowledge|virtio.Driver, "bit %d", b)
	}
}

func TestFEAT_04_NothingReservedIsOffered(t *testing.T) {
	r := newRig(t, wide())
	r.attach()
	offered := r.offered()
	for b := virtio.Feature(24); b < 50; b++ {
		switch b {
		case virtio.IndirectDesc, virtio.EventIdx, virtio.Version1, virtio.AccessPlatform, virtio.OrderPlatform, virtio.RingReset:
			assert.Assert(t, offered.Has(b), "bit %d", b)
		default:
			assert.Assert(t, !offered.Has(b), "bit %d", b)
		}
	}
}

func TestFEAT_05_AcceptedOnceIsAcceptedAgain(t *testing.T) {
	r := newRig(t, wide())
	r.attach()
	f := r.offered()
	for range 100 {
		r.attach()
		r.accept(f)
		assert.Assert(t, r.status()&virtio.FeaturesOK != 0)
	}
}

func TestFEAT_06_NoLegacyDriver(t *testing.T) {
	r := newRig(t, wide())
	r.attach()
	r.accept(virtio.FeatureSet(0, 5))
	assert.Equal(t, r.status()&virtio.FeaturesOK, virtio.Status(0))
}

func TestFEAT_07_Version1IsOffered(t *testing.T) {
	r := newRig(t, inOrder(), func(o *Options) { o.Offer = virtio.FeatureSet(virtio.IndirectDesc) })
	r.must(RegStatus, 0)
	r.must(RegDeviceFeaturesSel, 1)
	assert.Assert(t, r.load(RegDeviceFeatures)&1 != 0)
}

// The device works with a driver that does without what the memory demands: whether its addresses
// can be reached is seen in each of them.
func TestFEAT_08_OnlyVersion1IsInsistedOn(t *testing.T) {
	r := newRig(t, inOrder())
	r.attach()
	r.accept(virtio.FeatureSet(virtio.Version1))
	assert.Assert(t, r.status()&virtio.FeaturesOK != 0)
}

func TestFEAT_09_AccessPlatformAndAddressesOutside(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(1)
	assert.Assert(t, r.slot.Stats().Features.Has(virtio.AccessPlatform))
	q := r.q(0)
	q.describe(0, "ping")
	// The page itself lies in the window, but not in this device's memory.
	r.span(q.layout().Desc, 16).Store64Plain(0, base+slotOff)
	q.expose(0)
	r.ring()
	_, answer := q.came()
	assert.Equal(t, answer, "", "refused")
	q.mustServe()
}

func TestFEAT_12_NoSRIOV(t *testing.T) {
	r := newRig(t, wide())
	r.attach()
	assert.Assert(t, !r.offered().Has(virtio.SRIOV))
}
