package uml

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/transport/vhostuser"
	"github.com/hypervisorless/virtio/virtio"
)

// A lane is one way for devices to reach the kernel.
type lane struct {
	name string
	rig  *Rig
	// attach serves the devices until the test ends.
	attach func(t testing.TB, r *Rig, devices ...virtio.Backend) Attachment
}

// lanes runs a test once for each way.
func lanes(t *testing.T, run func(t *testing.T, l lane)) {
	r := prepare(t)
	for _, l := range []lane{{"vhost-user", r, attachVhostUser}, {"mmio", r, attachMMIO}} {
		t.Run(l.name, func(t *testing.T) { run(t, l) })
	}
}

// patience is for a whole test: more than any takes, so that only a hang is ended by it.
const patience = time.Minute

// boot boots a kernel for the test, and says what drives which device.
func (l lane) boot(ctx context.Context, t testing.TB, c Config) *Guest {
	t.Helper()
	l.rig.say = t.Logf
	begin := time.Now()
	g, err := l.rig.Boot(ctx, c)
	need(t, err)
	t.Cleanup(g.Kill)
	for _, d := range g.Facts.Devices {
		t.Logf("driver %s of Linux %s has %s (type %d, features %#x) by %s; booted in %.1f s",
			d.Driver, g.Facts.Kernel, d.Name, d.ID, d.Features, d.Transport, time.Since(begin).Seconds())
		assert.Assert(t, d.Driver != "", "no driver took %s\n%s", d.Name, g.Log())
	}
	assert.Assert(t, len(g.Facts.Devices) > 0, "the kernel found no device\n%s", g.Log())
	return g
}

// attachVhostUser serves the devices for the kernel's virtio_uml.
func attachVhostUser(t testing.TB, _ *Rig, devices ...virtio.Backend) Attachment {
	t.Helper()
	dir := shortDir(t)
	var all Attachment
	for _, d := range devices {
		socket := serveVhostUser(t, dir, d)
		all.KernelArgs = append(all.KernelArgs, VhostUser(socket, int(d.Info().ID)).KernelArgs...)
	}
	return all
}

// serveVhostUser serves a device until the test ends, and returns its socket in dir.
func serveVhostUser(t testing.TB, dir string, d virtio.Backend) string {
	t.Helper()
	name := d.Info().ID.String()
	socket := filepath.Join(dir, name)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	assert.NilError(t, err)
	server, err := vhostuser.New(name, d, vhostuser.Options{Log: testLog(t)})
	assert.NilError(t, err)
	background(t, func(ctx context.Context) error { return server.Run(ctx, listener) })
	return socket
}

// background runs what serves a device until the test ends, and sees it to its end.
func background(t testing.TB, run func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		stop()
		assert.Check(t, <-ended)
	})
}

// shortDir is a folder whose name leaves room for a socket's.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lane-")
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, os.RemoveAll(dir)) })
	return dir
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}
