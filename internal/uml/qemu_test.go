package uml

import (
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/internal/uml/talk"
)

// Linux with two processors reads entropy of ours through QEMU's front-end and virtio over PCI,
// and again after its device was taken from the driver.
func TestQEMURNG(t *testing.T) {
	r, err := PrepareQEMU(t.Context(), t.Logf)
	need(t, err)
	l, ctx := lane{name: "vhost-user-rng-pci", rig: r}, within(t, 2*time.Minute)
	attach := func(source *given) Attachment {
		socket := serveVhostUser(t, shortDir(t), rng.New(rng.Options{Source: source}))
		return VhostUserPCI(socket, "rng")
	}
	drivers := []Module{{Name: "virtio_pci"}, {Name: "virtio_rng"}}

	t.Run("read", func(t *testing.T) {
		var source given
		g := l.boot(ctx, t, Config{
			Attachments: []Attachment{attach(&source)}, Modules: drivers,
			Job: "rng", Args: talk.RNGArgs{Bytes: 1 << 18},
		})
		var result talk.RNGResult
		assert.NilError(t, g.Await(ctx, "rng", &result))
		assert.NilError(t, g.Wait(ctx))
		judgeRNG(t, result, &source)
	})
	t.Run("rebind", func(t *testing.T) {
		var source given
		g := l.boot(ctx, t, Config{
			Attachments: []Attachment{attach(&source)}, Modules: drivers,
			Job: "rebind", Args: talk.RebindArgs{ID: 4, Times: rebinds},
		})
		assert.NilError(t, g.Wait(ctx))
	})
}
