package uml

import (
	"errors"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/rng"
)

// A machine that reboots takes no leave of its device, and its monitor notices all the same that
// the kernel is gone. What comes then is not looked at: now and then a signal for what the old
// kernel had open ends the new one, User-Mode Linux's, before it has begun.
func TestUMLRestartMachine(t *testing.T) {
	r, ctx := prepare(t), within(t, patience)
	socket := filepath.Join(shortDir(t), "mmio")
	l, err := ListenMMIO(socket)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, l.Close()) })
	a, err := r.MMIO(ctx, MMIOLine{socket, 1})
	need(t, err)
	served := make(chan error, 1)
	go func() {
		h, err := AcceptMMIO(l)
		if err == nil {
			err = h.Serve(t.Context(), testLog(t), MMIODevice{"rng", rng.New(rng.Options{})})
			err = errors.Join(err, h.Close())
		}
		served <- err
	}()
	g := lane{"mmio", r, nil}.boot(ctx, t, Config{Attachments: []Attachment{a}, Modules: rngDriver, Job: "reboot"})
	select {
	case err := <-served:
		assert.NilError(t, err)
	case <-ctx.Done():
		t.Fatal("the kernel's end was not noticed")
	}
	select {
	case m := <-g.in:
		t.Fatalf("the next kernel is up already: %v", m)
	default:
	}
}
