package uml

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/p9"
	"github.com/hypervisorless/virtio/virtio"
)

var ours = server{
	"ours",
	func(t testing.TB, _, dir string) virtio.Backend {
		export, err := p9.Dir(dir, p9.DirOptions{})
		assert.NilError(t, err)
		t.Cleanup(func() { assert.Check(t, export.Close()) })
		d, err := p9.New(p9.Options{Tag: ninepTag, Attacher: export})
		assert.NilError(t, err)
		return d
	},
	func(string) string { return "uname=any" },
}
