package uml

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"github.com/hypervisorless/virtio/virtio"
)

// bootMonitored boots a kernel with one device that a process of its own serves, and may be
// killed: what the kernel hands over is kept here.
func bootMonitored(ctx context.Context, t testing.TB, device virtio.DeviceID, driver []Module, job string, args any) (*Guest, *monitors) {
	t.Helper()
	r := prepare(t)
	socket := filepath.Join(shortDir(t), "mmio")
	l, err := ListenMMIO(socket)
	assert.NilError(t, err)
	t.Cleanup(func() { l.Close() })
	a, err := r.MMIO(ctx, MMIOLine{socket, 1})
	need(t, err)
	started := make(chan *monitors, 1)
	go func() {
		defer close(started)
		m := handedOver(t, device, l)
		m.start(t)
		started <- m
	}()
	g := lane{"mmio", r, nil}.boot(ctx, t, Config{
		Attachments: []Attachment{a}, Modules: driver, Job: "counted", Args: counted(t, job, args),
	})
	m := <-started
	t.Cleanup(func() { m.end(t, g) })
	return g, m
}

func counted(t testing.TB, job string, args any) talk.CountedArgs {
	t.Helper()
	text, err := json.Marshal(args)
	assert.NilError(t, err)
	return talk.CountedArgs{Job: job, Args: text}
}

// counts waits for the guest's end and for what the glue counted for its only device.
func counts(ctx context.Context, t testing.TB, g *Guest) talk.Counts {
	t.Helper()
	var all []talk.Counts
	assert.NilError(t, g.Await(ctx, "counts", &all))
	assert.NilError(t, g.Wait(ctx))
	assert.Equal(t, len(all), 1)
	return all[0]
}

var rngDriver = []Module{{Name: "virtio_rng"}}

// A monitor is killed again and again while Linux reads entropy. The driver notices nothing: no
// byte is lost, torn, stale or repeated.
func TestUMLRestartRNG(t *testing.T) {
	const kills, size = 100, 2 << 20
	ctx := within(t, 2*patience)
	g, m := bootMonitored(ctx, t, virtio.IDEntropy, rngDriver, "draw", talk.DrawArgs{Bytes: size})
	assert.NilError(t, g.Await(ctx, "drawing", nil))
	var drawn int
	m.harass(ctx, t, kills, 120*time.Millisecond, func() { assert.NilError(t, g.Say("enough", nil)) },
		func() error { return g.Await(ctx, "drawn", &drawn) })
	c := counts(ctx, t, g)
	t.Logf("%d bytes under %d kills: %v", drawn, m.lives-1, c)
	assert.Assert(t, drawn >= size)
	undisturbed(t, c, m)
}

// undisturbed is a driver that has noticed nothing of what became of the monitors.
func undisturbed(t testing.TB, c talk.Counts, m *monitors) {
	t.Helper()
	assert.Equal(t, c["epoch"], uint32(1))
	assert.Equal(t, c["reprobes"], uint32(0))
	assert.Equal(t, c["connects"], uint32(1))
	assert.Equal(t, c["broken"], uint32(0))
	assert.Assert(t, c["starts"] > 1 && int(c["starts"]) <= m.lives, "of %d monitors %d began to serve", m.lives, c["starts"])
}

// A monitor is killed again and again while Linux takes its driver from the device and gives it
// back: in the middle of bring-up, of a reset, of a first request.
func TestUMLRestartRebind(t *testing.T) {
	ctx := within(t, 2*patience)
	g, m := bootMonitored(ctx, t, virtio.IDEntropy, rngDriver, "rebind", talk.RebindArgs{ID: int(virtio.IDEntropy), Times: 20})
	var all []talk.Counts
	m.harass(ctx, t, 0, 25*time.Millisecond, nil, func() error { return g.Await(ctx, "counts", &all) })
	assert.NilError(t, g.Wait(ctx))
	t.Logf("%d kills: %v", m.lives-1, all)
	undisturbed(t, all[0], m)
}
