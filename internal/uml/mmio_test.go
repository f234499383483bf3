package uml

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/hypervisorless/virtio/backend/rng"
	"gotest.tools/v3/assert"
)

func TestUMLMMIOFirst(t *testing.T) {
	r, ctx := prepare(t), within(t, time.Minute)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := ListenMMIO(socket)
	assert.NilError(t, err)
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		h, err := AcceptMMIO(l)
		if err == nil {
			err = h.Serve(ctx, slog.Default(), MMIODevice{"rng", rng.New(rng.Options{})})
		}
		done <- err
	}()
	a, err := r.MMIO(ctx, MMIOLine{socket, 1})
	need(t, err)
	g, err := r.Boot(ctx, Config{Attachments: []Attachment{a}, Modules: []Module{{Name: "virtio_rng"}}, Job: "draw", Args: map[string]any{"Bytes": 256 << 10}})
	assert.NilError(t, err)
	defer g.Kill()
	t.Logf("%+v", g.Facts)
	assert.NilError(t, g.Await(ctx, "drawing", nil))
	assert.NilError(t, g.Await(ctx, "drawn", nil))
	var s string
	assert.NilError(t, g.Await(ctx, "stats", &s))
	t.Log(s)
	assert.NilError(t, g.Wait(ctx))
	t.Log(g.Log())
	assert.NilError(t, <-done)
}
