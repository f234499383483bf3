package uml

import (
	"context"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/poll"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"github.com/hypervisorless/virtio/virtio"
)

// printed waits until the kernel has printed a text.
func printed(t testing.TB, g *Guest, text string) {
	t.Helper()
	poll.WaitOn(t, func(poll.LogT) poll.Result {
		if strings.Contains(g.Log(), text) {
			return poll.Success()
		}
		return poll.Continue("%q is not in the kernel's log", text)
	}, poll.WithTimeout(patience))
}

// tell has the job bind do something; answer waits for what came of it.
func tell(t testing.TB, g *Guest, what string) (answer func(context.Context) string) {
	t.Helper()
	assert.NilError(t, g.Say(what, nil))
	return func(ctx context.Context) (text string) {
		t.Helper()
		assert.NilError(t, g.Await(ctx, what, &text))
		return text
	}
}

// A device that does not answer the reset keeps the driver waiting, for as long as it may still
// have the driver's memory: Linux would free that next.
func TestUMLSilenceUnderReset(t *testing.T) {
	ctx := within(t, 2*patience)
	g, m := bootMonitored(ctx, t, virtio.IDEntropy, rngDriver, nil, "bind", talk.BindArgs{ID: int(virtio.IDEntropy)})
	thaw := freeze(t, m.cmd.Process)
	unbound := tell(t, g, "unbind")
	printed(t, g, "the device still has our memory")
	status := m.word(t, 0x70)
	assert.Equal(t, status, uint32(0xf), "the device has not seen it")
	thaw()
	assert.Equal(t, unbound(ctx), "")
	assert.Equal(t, m.word(t, 0x70), uint32(1), "reset, and acknowledged by the bus")
	assert.Equal(t, tell(t, g, "bind")(ctx), "")
	assert.Equal(t, tell(t, g, "use")(ctx), "")
	assert.NilError(t, g.Say("enough", nil))
	c := counts(ctx, t, g)
	t.Log(c)
	assert.Equal(t, c["reprobes"], uint32(0))
	assert.Equal(t, c["broken"], uint32(0))
}

// A device that does not answer while a driver is bound fails that; when it comes back, the
// driver is bound by itself. One that a person took away stays away, whatever the device forgot.
func TestUMLSilenceUnderProbe(t *testing.T) {
	ctx := within(t, 2*patience)
	g, m := bootMonitored(ctx, t, virtio.IDEntropy, rngDriver, nil, "bind", talk.BindArgs{ID: int(virtio.IDEntropy)})
	assert.Equal(t, tell(t, g, "unbind")(ctx), "")
	thaw := freeze(t, m.cmd.Process)
	assert.Assert(t, tell(t, g, "bind")(ctx) != "")
	thaw()
	assert.Equal(t, tell(t, g, "use")(ctx), "")

	assert.Equal(t, tell(t, g, "unbind")(ctx), "")
	m.kill(t)
	m.forget(t)
	m.start(t)
	poll.WaitOn(t, func(poll.LogT) poll.Result {
		if m.word(t, 0x814) == 2 { // Epoch
			return poll.Success()
		}
		return poll.Continue("the monitor has not started afresh")
	}, poll.WithTimeout(patience))
	time.Sleep(200 * time.Millisecond) // for what must not happen
	assert.Equal(t, m.word(t, 0x70), uint32(0), "nobody bound it")
	assert.Assert(t, tell(t, g, "bind")(ctx) != "", "the device wants a reset first")
	assert.Equal(t, tell(t, g, "use")(ctx), "")
	assert.NilError(t, g.Say("enough", nil))
	c := counts(ctx, t, g)
	t.Log(c)
	assert.Equal(t, c["reprobes"], uint32(2))
}

// A driver that reads the configuration in the middle of an update waits for its end, as after a
// monitor's death in it. The device is one of network, since Linux's driver of these has a field
// that takes more than one access.
func TestUMLSilenceUnderConfig(t *testing.T) {
	ctx := within(t, 2*patience)
	g, m := bootMonitored(ctx, t, virtio.IDNet, []Module{{Name: "virtio_net"}}, nil, "bind", talk.BindArgs{ID: int(virtio.IDNet)})
	assert.Equal(t, tell(t, g, "address")(ctx), "02:00:00:00:00:01")
	assert.Equal(t, tell(t, g, "unbind")(ctx), "")
	page := m.page(t)
	generation := page.Load32(0xfc)
	page.Store32(0xfc, generation+1)
	bound := tell(t, g, "bind")
	for tell(t, g, "odd")(ctx) == "0" { // bounded by ctx, and by the 3 s that the driver waits
	}
	page.Store32(0x100, 0x44332202)
	page.Store32(0x104, 0x6655)
	page.Store32(0xfc, generation+2)
	assert.Equal(t, bound(ctx), "")
	assert.Equal(t, tell(t, g, "address")(ctx), "02:22:33:44:55:66")
	assert.NilError(t, g.Say("enough", nil))
	c := counts(ctx, t, g)
	t.Log(c)
	assert.Equal(t, c["reprobes"], uint32(0))
	assert.Equal(t, c["broken"], uint32(0))
}
