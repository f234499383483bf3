package vring_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/emulator"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// A file that is truncated under the queue breaks the queue, whichever method meets the hole
// first, and lets the gate go.
func TestFault_MappingVanishes(t *testing.T) {
	if emulator.Here() {
		t.Skip("QEMU's user mode hands on a SIGBUS without its address, which Go takes for a nil dereference")
	}
	for _, name := range []string{"Pop", "Read", "Write", "Arm", "Show", "Publish", "Available"} {
		for _, gate := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "ring")
				region, err := shmem.OpenFile(path, 1<<14)
				assert.NilError(t, err)
				defer region.Close()
				m := newMemory(region)
				c := size(8)
				c.Layout = m.Modern(8)
				g := &gated{}
				if gate {
					g.gate = vring.NewGate(nil, nil)
					c.Gate = g.gate
				}
				g.env = newEnv(t, m, c)
				var chain vring.Chain
				g.inFlight(t, &chain)
				if name == "Pop" {
					g.pop(t, &vring.Chain{}) // the last one, so that the next looks at the index
				}
				access := g.accesses(&chain)[name]
				if name == "Available" {
					access = func() error { _, err := g.q.Available(); return err }
				}

				assert.NilError(t, os.Truncate(path, 0))
				gone := (*shmem.FaultError)(nil)
				assert.Assert(t, errors.As(access(), &gone))
				assert.Assert(t, g.gate == nil || g.gate.Empty())
				switch name {
				case "Read", "Write", "Available": // by anybody
					assert.NilError(t, g.q.Broken())
				default:
					assert.Equal(t, g.q.Broken(), error(gone))
					_, err := g.q.Publish()
					assert.Equal(t, err, error(gone))
					assert.Equal(t, g.q.Pending(), 0)
				}
			})
		}
	}
}

// Any other panic is a bug of ours or of a callback and goes on, but not with the gate in hand.
func TestFault_OtherPanicsGoOn(t *testing.T) {
	g := newGated(t, shmem.NewHeap(1<<14), size(8))
	g.look = func() bool { panic("a bug") }
	func() {
		defer func() { assert.Equal(t, recover(), "a bug") }()
		_, _ = g.q.Pop(&vring.Chain{})
	}()
	assert.Assert(t, g.gate.Empty())
	assert.NilError(t, g.q.Broken())
	g.look = nil
	g.r.Put(0, vringtest.Desc{})
	g.r.Offer(0)
	var c vring.Chain
	g.pop(t, &c)
}
