package vhostusertest

import (
	"errors"
	"fmt"

	"github.com/hypervisorless/virtio/virtio"
)

func question(r Request, payload []byte) Message {
	return Message{Request: r, Flags: Version, Payload: payload}
}

// SetOwner says that a session begins.
func (f *FrontEnd) SetOwner() error { return f.Tell(SetOwner, nil) }

// ResetOwner is the deprecated end of a session.
func (f *FrontEnd) ResetOwner() error { return f.Tell(ResetOwner, nil) }

// GetFeatures asks for the virtio features, bits 0 to 63, FeatureProtocol among them.
func (f *FrontEnd) GetFeatures() (virtio.Features, error) {
	v, err := f.askNumber(question(GetFeatures, nil))
	return virtio.Features{v}, err
}

// SetFeatures takes features; no bit is added or left out.
func (f *FrontEnd) SetFeatures(v virtio.Features) error { return f.Tell(SetFeatures, u64s(v[0])) }

// GetProtocolFeatures asks for the protocol features.
func (f *FrontEnd) GetProtocolFeatures() (Protocol, error) {
	v, err := f.askNumber(question(GetProtocolFeatures, nil))
	return Protocol(v), err
}

// SetProtocolFeatures takes protocol features.
func (f *FrontEnd) SetProtocolFeatures(p Protocol) error {
	return f.Tell(SetProtocolFeatures, u64s(uint64(p)))
}

// GetQueueNum asks how many queues there are (MQ).
func (f *FrontEnd) GetQueueNum() (uint64, error) { return f.askNumber(question(GetQueueNum, nil)) }

// SetStatus writes the device status (STATUS).
func (f *FrontEnd) SetStatus(s virtio.Status) error { return f.Tell(SetStatus, u64s(uint64(s))) }

// GetStatus reads the device status (STATUS).
func (f *FrontEnd) GetStatus() (virtio.Status, error) {
	v, err := f.askNumber(question(GetStatus, nil))
	return virtio.Status(v), err
}

// ResetDevice asks for all rings to be disabled and the device to be reset (RESET_DEVICE).
func (f *FrontEnd) ResetDevice() error { return f.Tell(ResetDevice, nil) }

// ErrNoConfig is the answer of a back-end that does not give away that piece of the
// configuration space.
var ErrNoConfig = errors.New("the back-end has no such configuration space")

// configHeader is what precedes the bytes of a configuration space: offset, size, flags.
const configHeader = 12

// GetConfig asks for n bytes of the configuration space (CONFIG). An error of the back-end's is
// ErrNoConfig.
func (f *FrontEnd) GetConfig(off, n uint32) ([]byte, error) {
	reply, err := f.Ask(question(GetConfig, append(u32s(off, n, 0), make([]byte, n)...)))
	if err != nil {
		return nil, err
	}
	closeAll(reply.Files)
	switch got := reply.Payload; {
	case len(got) == 0, len(got) == configHeader && n > 0 && order.Uint32(got[4:]) == 0:
		return nil, ErrNoConfig
	case len(got) != configHeader+int(n), order.Uint32(got) != off, order.Uint32(got[4:]) != n:
		return nil, fmt.Errorf("asked for %d bytes of configuration at %d and got %d: %x", n, off, len(got), got)
	}
	return reply.Payload[configHeader:], nil
}

// SetConfig writes to the configuration space as the driver does (CONFIG).
func (f *FrontEnd) SetConfig(off uint32, p []byte) error {
	return f.Tell(SetConfig, append(u32s(off, uint32(len(p)), 0), p...))
}
