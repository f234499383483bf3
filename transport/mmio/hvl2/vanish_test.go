package hvl2

import (
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/emulator"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// newVanishing is a rig on a file that can be truncated.
func newVanishing(t *testing.T, b virtio.Backend) (r *rig, truncate func()) {
	if emulator.Here() {
		t.Skip("QEMU's user mode does not tell where a fault was")
	}
	path := filepath.Join(t.TempDir(), "window")
	region, err := shmem.OpenFile(path, winSize)
	assert.NilError(t, err)
	t.Cleanup(func() { region.Close() })
	r = newRig(t, b)
	r.region = region
	r.monitor()
	assert.NilError(t, r.slot.Start())
	return r, func() { assert.NilError(t, os.Truncate(path, 0)) }
}
