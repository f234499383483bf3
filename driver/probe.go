package driver

import (
	"context"
	"errors"

	"github.com/hypervisorless/virtio/virtio"
)

// Probe returns the devices in the window, in the order of their headers. It waits for the
// back-end to publish them, whichever layout it uses: the window may be all zero until then.
func (w *Window) Probe(ctx context.Context) ([]*Device, error) {
	return nil, errors.New("driver: not yet")
}

// Find returns device n, from 0, of the given type. It waits until there is one.
func (w *Window) Find(ctx context.Context, id virtio.DeviceID, n int) (*Device, error) {
	return nil, errors.New("driver: not yet")
}
