package uml

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/uml/talk"
)

// Linux with two processors has sockets of ours through QEMU's front-end and virtio over PCI. And
// it is a host for a device of ours, whose driver's connections lead to the kernel's own sockets
// and, in one case, on to this side.
func TestQEMUVsock(t *testing.T) {
	r, err := PrepareQEMU(t.Context(), t.Logf)
	need(t, err)
	ctx := within(t, 2*time.Minute)
	w, err := newTown()
	assert.NilError(t, err)
	const program = "bin/router.test"
	l := lane{name: "vhost-user-vsock-pci", rig: r}
	g := l.boot(ctx, t, Config{
		Attachments: []Attachment{VhostUserPCI(serveVhostUser(t, shortDir(t), w.Device), "vsock")},
		Modules:     append([]Module{{Name: "virtio_pci"}, {Name: "vsock_loopback"}}, vsockDriver...),
		Files:       map[string]string{program: buildStatic(t)},
		Job:         "vsock",
	})
	v := visitor{g, ctx}
	w.through(t, v, []part{
		{"both ways", bothDial}, {"half-close", halfClose}, {"refused", refused},
		{"many connections", func(t *testing.T, w *town, v visitor) { many(t, w, v, 100) }},
	})
	t.Run("router", func(t *testing.T) {
		var out string
		err := v.do("run", talk.VsockDo{Args: []string{"/" + program, "-test.v", "-test.run", "^TestVsockHostRouter$"}}, &out)
		assert.NilError(t, err)
		t.Log(out)
		assert.Check(t, !strings.Contains(out, "SKIP"))
		w.served.Wait() // it ends with a reset, which one of these will have noticed
	})
	v.leave(t)
}

// buildStatic builds these tests for a machine without libraries.
func buildStatic(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "test")
	_, err := output(t.Context(), "", "env", "CGO_ENABLED=0", "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-o", file, ".")
	assert.NilError(t, err)
	return file
}
