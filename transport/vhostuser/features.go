package vhostuser

import (
	"errors"
	"fmt"

	"github.com/hypervisorless/virtio/virtio"
)

// protocolFeature is a set of features of the protocol, apart from those of the device.
type protocolFeature uint64

const (
	protoMQ          protocolFeature = 1 << 0
	protoReplyAck    protocolFeature = 1 << 3
	protoBackendReq  protocolFeature = 1 << 5
	protoConfig      protocolFeature = 1 << 9
	protoInflight    protocolFeature = 1 << 12
	protoResetDevice protocolFeature = 1 << 13
	protoInband      protocolFeature = 1 << 14
	protoMemSlots    protocolFeature = 1 << 15
	protoStatus      protocolFeature = 1 << 16
)

// featProtocol is the one bit in the device's features that is the protocol's: it says that
// there are protocol features, and that queues wait for SET_VRING_ENABLE.
const featProtocol = 1 << 30

// ringFeatures are offered for every device. VERSION_1 makes it a modern one, which is all that
// is served here.
var ringFeatures = virtio.FeatureSet(virtio.Version1, virtio.IndirectDesc, virtio.EventIdx)

// protocolOffer is what is offered of the protocol for a device.
func protocolOffer(info virtio.Info, inband bool) protocolFeature {
	f := protoMQ | protoReplyAck | protoBackendReq | protoConfig | protoResetDevice | protoMemSlots | protoStatus
	if info.InOrder || info.Redo {
		f |= protoInflight // others could not do again what was in flight
	}
	if inband {
		f |= protoInband
	}
	return f
}

func (c *conn) has(f protocolFeature) bool { return c.protocol&f == f }

// word is a set of features as one 64-bit word, which is all there is room for.
func word(f virtio.Features) uint64 { return uint64(f.Word(0)) | uint64(f.Word(1))<<32 }

var errInband = errors.New("in-band notifications were negotiated without a back-end channel or REPLY_ACK")

// onSetProtocolFeatures is final for the connection: nothing says what a change would mean.
func (c *conn) onSetProtocolFeatures(m *message) error {
	f := protocolFeature(m.u64)
	if unknown := f &^ c.s.protocol; unknown != 0 {
		return fatal(fmt.Errorf("protocol features %#x were not offered", uint64(unknown)))
	}
	if f&protoInband != 0 && f&(protoBackendReq|protoReplyAck) != protoBackendReq|protoReplyAck {
		return fatal(errInband)
	}
	c.protocol = f
	return nil
}

var (
	errLegacy = errors.New("a legacy driver, without VERSION_1")
	errFrozen = errors.New("the features are agreed on until the device is reset")
)

// onSetFeatures takes the driver's features. Others than before are another life of the driver.
func (c *conn) onSetFeatures(m *message) error {
	f := virtio.Features{m.u64 &^ featProtocol}
	c.gated = m.u64&featProtocol != 0
	if unknown := f.Without(c.s.dev.Offered()); unknown != (virtio.Features{}) {
		return fatal(fmt.Errorf("features %v were not offered", unknown))
	}
	if !f.Has(virtio.Version1) {
		return fatal(errLegacy)
	}
	if c.status && f != c.features && c.s.dev.Status()&virtio.FeaturesOK != 0 {
		return errFrozen
	}
	if !c.anyLive() || f != c.features {
		if err := c.endSession(); err != nil {
			return err
		}
	}
	c.features, c.featured = f, true
	return c.negotiate()
}
