package vringtest_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// Every byte counts, wherever it stands, and a free range frees its own bytes only.
func TestSnapshot(t *testing.T) {
	const base, size = 0x1000, 1000
	m := vringtest.NewMemory(shmem.NewHeap(size), base)
	m.Alloc(100, 1)
	m.Fill() // the rest, and not with zeros
	for i := range uint64(size) {
		before := m.Snapshot()
		m.Write(base+i, []byte{^m.Read(base+i, 1)[0]})
		assert.ErrorContains(t, before.Changed(), "the byte at")
		assert.NilError(t, before.Changed(vringtest.Range{Addr: base + i, Len: 1}))
		assert.ErrorContains(t, before.Changed(vringtest.Range{Addr: base, Len: i}, vringtest.Range{Addr: base + i + 1, Len: size}), "the byte at")
		assert.Assert(t, i >= 100 || m.Read(base+i, 1)[0] == 0xff)
	}
}
