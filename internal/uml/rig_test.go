package uml

import (
	"context"
	"errors"
	"os"
	"testing"

	"gotest.tools/v3/assert"
)

// prepare is the rig, or skips the test with a sentence; in CI it has to be there.
func prepare(t testing.TB) *Rig {
	t.Helper()
	r, err := Prepare(t.Context(), t.Logf)
	need(t, err)
	return r
}

// need ends the test on an error: it is skipped if this machine cannot have the rig.
func need(t testing.TB, err error) {
	t.Helper()
	if u := (*Unavailable)(nil); errors.As(err, &u) && os.Getenv("CI") != "true" {
		t.Skip(u)
	}
	assert.NilError(t, err)
}

func TestUMLModules(t *testing.T) {
	r := prepare(t)
	t.Logf("Linux %s of source package %s", r.Release, r.Source)
	order, err := r.resolve(context.Background(), []Module{{Name: "virtio_rng"}, {Name: "9pnet_virtio"}, {Name: "virtio_console"}})
	need(t, err)
	for _, l := range order {
		t.Log(l)
	}
}
