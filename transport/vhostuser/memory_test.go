package vhostuser

import (
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	vu "github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
)

// regions are three at odd places and offsets, the second of which the rings never touch.
var regions = []vu.Region{
	{Guest: 0x16c0_0000, User: 0x6000_0000_0000, Size: 1 << 20, Offset: 0x16c0_0000},
	{Guest: 0x2_0000_0000, User: 0x7000_0000_0000, Size: 1 << 20},
	{Guest: 0x4000_0000, User: 0x5000_0000_0000, Size: 1<<20 - 0x230, Offset: 0x1230},
}

// Memory is replaced under live queues: they go on in the new one, in the same session.
func TestMemoryReplacedWhileLive(t *testing.T) {
	y := newToy(2)
	g, _ := attached(t, y, vu.Options{Regions: regions, Acked: true})
	for range 50 {
		echo(t, g, 0)
		echo(t, g, 1)
		assert.NilError(t, g.FrontEnd.SetMemTable(g.Memory.Regions...))
	}
	assert.Equal(t, y.lives(), 1)
}

// Regions are added one by one, and taken away again; a queue that lies in one that went is
// stopped, the others go on.
func TestRegionsOneByOne(t *testing.T) {
	y := newToy(2)
	fe, _ := connect(t, newServer(t, y, Options{}))
	g := newGuest(t, vu.Options{Regions: regions, Sizes: []uint16{8, 8}, Acked: true})
	assert.NilError(t, g.Negotiate(fe))
	most, err := fe.GetMaxMemSlots()
	assert.NilError(t, err)
	assert.Assert(t, most >= 8)
	for _, r := range g.Memory.Regions {
		assert.NilError(t, fe.AddMemReg(r))
	}
	for _, q := range g.Queues {
		assert.NilError(t, q.Place())
		assert.NilError(t, q.Enable())
	}
	echo(t, g, 0)
	file := memfd(t, 1<<16)
	for i := range 20 {
		r := vu.Region{Guest: 1 << 40, User: 1 << 44, Size: 1 << 16, File: file}
		assert.NilError(t, fe.AddMemReg(r))
		echo(t, g, i%2)
		assert.NilError(t, fe.RemMemReg(r))
		assert.ErrorIs(t, fe.RemMemReg(r), vu.ErrRefused)
		echo(t, g, i%2)
	}
	assert.Equal(t, y.lives(), 1)
	for _, r := range g.Memory.Regions {
		assert.NilError(t, fe.RemMemReg(r))
	}
	for _, r := range g.Memory.Regions {
		assert.ErrorIs(t, fe.RemMemReg(r), vu.ErrRefused, "it is there still")
	}
	silent(t, g, 0)
}

// Slots are not more than was said.
func TestSlotsRunOut(t *testing.T) {
	fe, done := connect(t, newServer(t, newToy(1), Options{}))
	defer fe.Close()
	file := memfd(t, 1<<12)
	most, err := fe.GetMaxMemSlots()
	assert.NilError(t, err)
	for i := range most {
		at := i << 12
		assert.NilError(t, fe.AddMemReg(vu.Region{Guest: at, User: at, Size: 1 << 12, File: file}))
	}
	_, err = fe.GetFeatures()
	assert.NilError(t, err)
	assert.NilError(t, fe.AddMemReg(vu.Region{Guest: 1 << 40, User: 1 << 40, Size: 1 << 12, File: file}))
	assert.NilError(t, fe.Closed())
	assert.ErrorContains(t, ended(t, done), fmt.Sprintf("more than %d", most))
}

// DRV_06: addresses are looked up in the region they belong to, and nowhere else.
func TestDRV_06_Addresses(t *testing.T) {
	var m memory
	for _, d := range []regionDesc{
		{guest: 0x1000, size: 0x1000, user: 0x8000},
		{guest: 0x9000, size: 0x2000, user: 0x4000},
		{guest: 0x3000, size: 0x1000, user: ^uint64(0) - 0xfff},
	} {
		m.regions = append(m.regions, region{regionDesc: d})
	}
	for _, c := range []struct {
		user, n, want uint64
		ok            bool
	}{
		{0x8000, 0x1000, 0x1000, true},
		{0x8fff, 1, 0x1fff, true},
		{0x8000, 0x1001, 0, false},
		{0x7fff, 2, 0, false},
		{0x9000, 1, 0, false},
		{0x4000, 0x2000, 0x9000, true},
		{0x5000, 8, 0xa000, true},
		{0x5ff9, 8, 0, false},
		{^uint64(0), 1, 0x3fff, true},
		{^uint64(0), 2, 0, false},
		{0, 1, 0, false},
		{0x8001, ^uint64(0), 0, false},
	} {
		got, err := m.guest(c.user, c.n)
		assert.Equal(t, err == nil, c.ok, "%#x+%#x", c.user, c.n)
		assert.Equal(t, got, c.want, "%#x+%#x", c.user, c.n)
	}
}
