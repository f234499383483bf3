package uml

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/internal/uml/talk"
)

// A machine that reboots takes no leave of its device. The monitor notices that the kernel is
// gone, and serves the one that comes.
func TestUMLRestartMachine(t *testing.T) {
	r, ctx := prepare(t), within(t, patience)
	a, err := r.MMIO(ctx, serveMMIO(t, rng.New(rng.Options{Source: &talk.NumberedEntropy{}})))
	need(t, err)
	g := lane{"mmio", r, nil}.boot(ctx, t, Config{
		Attachments: []Attachment{a}, Modules: rngDriver, Job: "counted", Args: counted(t, "reboot", nil),
	})
	assert.NilError(t, g.Await(ctx, "used", nil))
	assert.NilError(t, g.Say("again", nil))
	var facts talk.Facts
	assert.NilError(t, g.Await(ctx, talk.Ready, &facts))
	assert.Equal(t, len(facts.Devices), 1)
	assert.NilError(t, g.Await(ctx, "used", nil))
	assert.NilError(t, g.Say("enough", nil))
	c := counts(ctx, t, g)
	t.Log(c)
	assert.Equal(t, c["status"], uint32(0xf))
	assert.Equal(t, c["connects"], uint32(1))
}
