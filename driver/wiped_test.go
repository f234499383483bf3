package driver_test

import (
	"errors"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
)

// Boot code that clears a whole window, and then a driver that looks for its device: it rings, so
// that an idle monitor finds out.
func TestFind_ClearedWindow(t *testing.T) {
	region, err := shmem.NewMemfd("window", winSize)
	assert.NilError(t, err)
	host, guest := notify.NewPair()
	t.Cleanup(func() { assert.NilError(t, errors.Join(host.Close(), guest.Close(), region.Close())) })
	serve(t, mmio.Options{Region: region, Line: host, Layout: mmio.Modern},
		device{"rng", rng.New(rng.Options{Source: &pattern{}}), 0})
	useRNG(t, open(t, driver.Options{Region: region, Line: guest}))
	all, err := region.Span(0, winSize)
	assert.NilError(t, err)
	all.Zero(0, winSize)
	w := open(t, driver.Options{Region: region, Line: guest})
	d, err := w.Find(bounded(t), 4, 0)
	assert.NilError(t, err)
	assert.NilError(t, d.Start(bounded(t), driver.Config{Sizes: []uint16{0}}))
	n, err := d.Queue(0).Do(bounded(t), nil, make([]byte, 10))
	assert.NilError(t, err)
	assert.Equal(t, n, 10)
}
