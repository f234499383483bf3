package virtio

import "fmt"

// DeviceID is the type of a device (5).
type DeviceID uint32

// The device types served here.
const (
	IDNet     DeviceID = 1
	IDConsole DeviceID = 3
	IDEntropy DeviceID = 4
	ID9P      DeviceID = 9
	IDSocket  DeviceID = 19
)

func (id DeviceID) String() string {
	switch id {
	case IDNet:
		return "net"
	case IDConsole:
		return "console"
	case IDEntropy:
		return "rng"
	case ID9P:
		return "9p"
	case IDSocket:
		return "vsock"
	}
	return fmt.Sprintf("device type %#x", uint32(id))
}
