package uml

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/poll"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"github.com/hypervisorless/virtio/virtio"
)

// bootMonitored boots a kernel with one device that a process of its own serves, and may be
// killed: what the kernel hands over is kept here.
func bootMonitored(ctx context.Context, t testing.TB, device virtio.DeviceID, driver []Module, more func(testing.TB) *os.File, job string, args any) (*Guest, *monitors) {
	t.Helper()
	return (&monitors{spec: monitorSpec{Device: device}, more: more}).boot(ctx, t, driver, job, args)
}

func (m *monitors) boot(ctx context.Context, t testing.TB, driver []Module, job string, args any) (*Guest, *monitors) {
	t.Helper()
	r := prepare(t)
	socket := filepath.Join(shortDir(t), "mmio")
	l, err := ListenMMIO(socket)
	assert.NilError(t, err)
	t.Cleanup(func() { l.Close() })
	a, err := r.MMIO(ctx, MMIOLine{socket, 1})
	need(t, err)
	first := make(chan error, 1)
	go func() {
		err := m.handedOver(l)
		if err == nil {
			m.start(t)
			err = m.serves(ctx, t)
		}
		first <- err
	}()
	g := lane{"mmio", r, nil}.boot(ctx, t, Config{
		Attachments: []Attachment{a}, Modules: driver, Job: "counted", Args: counted(t, job, args),
	})
	assert.NilError(t, <-first)
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
	g, m := bootMonitored(ctx, t, virtio.IDEntropy, rngDriver, nil, "draw", talk.DrawArgs{Bytes: size})
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
	g, m := bootMonitored(ctx, t, virtio.IDEntropy, rngDriver, nil, "rebind", talk.RebindArgs{ID: int(virtio.IDEntropy), Times: 100})
	var all []talk.Counts
	// A device that is not there for three seconds fails a probe: about half the processes serve.
	m.harass(ctx, t, 0, max(25*time.Millisecond, 2*m.slow), nil, func() error { return g.Await(ctx, "counts", &all) })
	assert.NilError(t, g.Wait(ctx))
	t.Logf("%d kills: %v", m.lives-1, all)
	undisturbed(t, all[0], m)
}

// A monitor takes its doorbell along when it is killed; the kernel finds the next one by itself,
// and its driver notices nothing.
func TestUMLRestartReconnect(t *testing.T) {
	const kills = 20
	r, ctx := prepare(t), within(t, patience)
	m := &monitors{spec: monitorSpec{Device: virtio.IDEntropy, Socket: filepath.Join(shortDir(t), "mmio")}}
	a, err := r.MMIO(ctx, MMIOLine{m.spec.Socket, 1})
	need(t, err)
	m.start(t)
	g := lane{"mmio", r, nil}.boot(ctx, t, Config{
		Attachments: []Attachment{a}, Modules: rngDriver, Job: "counted", Args: counted(t, "draw", talk.DrawArgs{}),
	})
	defer m.end(t, g)
	assert.NilError(t, g.Await(ctx, "drawing", nil))
	m.kill(t)
	for range 3 { // the first one finds a kernel that may still have to ring
		m.ringAndDie(t, g)
	}
	m.start(t)
	m.harass(ctx, t, kills, 120*time.Millisecond, func() { assert.NilError(t, g.Say("enough", nil)) },
		func() error { return g.Await(ctx, "drawn", nil) })
	c := counts(ctx, t, g)
	t.Logf("%d kills: %v", m.lives-1, c)
	assert.Assert(t, c["connects"] > 1, "the kernel has connected anew")
	assert.Equal(t, c["epoch"], uint32(1))
	assert.Equal(t, c["reprobes"], uint32(0))
	assert.Equal(t, c["broken"], uint32(0))
}

// A monitor that cannot go on where its predecessor was says so, and the driver, which has never
// heard of such a thing, is bound anew: by itself.
func TestUMLRestartFresh(t *testing.T) {
	const times = 5
	for _, way := range []struct {
		name  string
		amiss func(t *testing.T, m *monitors)
	}{
		{"device that cannot resume", func(_ *testing.T, m *monitors) { m.spec.Amnesia = true }},
		{"record of another version", func(t *testing.T, m *monitors) { m.forget(t) }},
	} {
		t.Run(way.name, func(t *testing.T) {
			ctx := within(t, patience)
			g, m := bootMonitored(ctx, t, virtio.IDEntropy, rngDriver, nil, "fresh", talk.FreshArgs{Times: times})
			for range times {
				m.kill(t)
				way.amiss(t, m)
				m.start(t)
				assert.NilError(t, g.Say("fresh", nil))
				var failures int
				assert.NilError(t, g.Await(ctx, "read", &failures))
			}
			c := counts(ctx, t, g)
			t.Log(c)
			assert.Equal(t, c["epoch"], uint32(1+times))
			assert.Assert(t, c["reprobes"] >= times)
			assert.Equal(t, c["broken"], uint32(0))
		})
	}
}

// Linux's driver of network devices sends a control message and spins until it is answered. A
// monitor dies of it, and the next one knows nothing: the driver has to stop spinning before it
// can be bound anew.
func TestUMLRestartUnderSpin(t *testing.T) {
	ctx := within(t, patience)
	g, m := bootMonitored(ctx, t, virtio.IDNet, []Module{{Name: "virtio_net"}}, nil, "bind", talk.BindArgs{ID: int(virtio.IDNet)})
	up := tell(t, g, "up")
	assert.NilError(t, m.cmd.Wait())
	m.spec.Amnesia = true
	m.start(t)
	up(ctx) // whatever comes of it, somebody runs again to say so
	poll.WaitOn(t, func(poll.LogT) poll.Result {
		if m.word(t, 0x70) == 0xf {
			return poll.Success()
		}
		return poll.Continue("the driver is not bound anew")
	}, poll.WithTimeout(patience))
	assert.Equal(t, tell(t, g, "address")(ctx), "02:00:00:00:00:01")
	assert.NilError(t, g.Say("enough", nil))
	c := counts(ctx, t, g)
	t.Log(c)
	assert.Equal(t, c["epoch"], uint32(2))
	assert.Equal(t, c["reprobes"], uint32(1))
}
