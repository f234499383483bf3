package virtio

import (
	"fmt"
	"strings"
)

// Status is the device status field (2.1).
type Status uint8

// The bits of the device status field.
const (
	Acknowledge Status = 1
	Driver      Status = 2
	DriverOK    Status = 4
	FeaturesOK  Status = 8
	NeedsReset  Status = 64
	Failed      Status = 128
)

var statusNames = []struct {
	bit  Status
	name string
}{
	{Acknowledge, "acknowledge"}, {Driver, "driver"}, {FeaturesOK, "features-ok"},
	{DriverOK, "driver-ok"}, {NeedsReset, "needs-reset"}, {Failed, "failed"},
}

func (s Status) String() string {
	if s == 0 {
		return "reset"
	}
	var names []string
	for _, b := range statusNames {
		if s&b.bit != 0 {
			names = append(names, b.name)
			s &^= b.bit
		}
	}
	if s != 0 {
		names = append(names, fmt.Sprintf("%#x", uint8(s)))
	}
	return strings.Join(names, "+")
}
