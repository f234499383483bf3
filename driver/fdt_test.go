package driver

import (
	"encoding/binary"
	"errors"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// fragment is a tree as a back-end makes it.
func fragment(t testing.TB) []byte {
	t.Helper()
	m, err := mmio.NewMap(mmio.Tree, 0x12_3700_0000, 1<<24,
		mmio.Slot{Name: "rng", ID: virtio.IDEntropy}, mmio.Slot{Name: "console", ID: virtio.IDConsole, Mem: 0x400000})
	assert.NilError(t, err)
	return m.FDT()
}

func TestFDT_Headers(t *testing.T) {
	got, err := treeHeaders(fragment(t))
	assert.NilError(t, err)
	assert.DeepEqual(t, got, []uint64{0x12_3701_0000, 0x12_3701_6000})
}

// tree builds a blob from the words and strings of a structure block.
type tree struct{ block, names []byte }

func (b *tree) word(v ...uint32) *tree {
	for _, w := range v {
		b.block = binary.BigEndian.AppendUint32(b.block, w)
	}
	return b
}

func (b *tree) text(s string) *tree {
	b.block = append(b.block, s+"\x00"...)
	for len(b.block)%4 != 0 {
		b.block = append(b.block, 0)
	}
	return b
}

func (b *tree) begin(name string) *tree { return b.word(1).text(name) }

func (b *tree) prop(name string, value []byte) *tree {
	b.word(3, uint32(len(value)), uint32(len(b.names)))
	b.names = append(b.names, name+"\x00"...)
	b.block = append(b.block, value...)
	for len(b.block)%4 != 0 {
		b.block = append(b.block, 0)
	}
	return b
}

func cells(v ...uint32) []byte { return new(tree).word(v...).block }

func (b *tree) blob() []byte {
	head := new(tree).word(0xd00dfeed, uint32(56+len(b.block)+len(b.names)), 56, uint32(56+len(b.block)), 40, 17, 16, 0,
		uint32(len(b.names)), uint32(len(b.block)), 0, 0, 0, 0)
	return append(append(head.block, b.block...), b.names...)
}

// A tree by another hand: one cell of address, other nodes around ours, nops, properties in
// another order, more than one compatible.
func TestFDT_OtherTrees(t *testing.T) {
	b := new(tree)
	b.word(4).begin("")
	b.prop("#size-cells", cells(1)).prop("#address-cells", cells(1))
	b.begin("soc").prop("#address-cells", cells(2)).prop("#size-cells", cells(0))
	b.begin("virtio@1").prop("reg", cells(1, 2)).prop("compatible", []byte("acme,x\x00virtio,mmio\x00")).word(2)
	b.begin("serial@1").prop("reg", cells(1, 2)).prop("compatible", []byte("virtio,mmio2\x00")).word(2)
	b.word(2)
	b.begin("virtio@3").word(4).prop("reg", cells(3, 0x200)).prop("compatible", []byte("virtio,mmio\x00")).word(2)
	b.word(2, 9)
	got, err := treeHeaders(b.blob())
	assert.NilError(t, err)
	assert.DeepEqual(t, got, []uint64{1<<32 | 2, 3})
}

func TestFDT_Malformed(t *testing.T) {
	good := fragment(t)
	node := func(addr, size uint32, reg []byte) []byte {
		b := new(tree).begin("").prop("#address-cells", cells(addr)).prop("#size-cells", cells(size))
		b.begin("v").prop("compatible", []byte("virtio,mmio\x00")).prop("reg", reg)
		return b.word(2, 2, 9).blob()
	}
	deep := new(tree)
	for range 100 {
		deep.begin("x")
	}
	for name, blob := range map[string][]byte{
		"nothing":              nil,
		"no end":               new(tree).begin("").word(2).blob(),
		"end inside":           new(tree).begin("").word(9).blob(),
		"end of no node":       new(tree).word(2, 9).blob(),
		"property of no node":  new(tree).prop("reg", cells(1)).word(9).blob(),
		"name without end":     new(tree).word(1, 0x61616161).blob(),
		"unknown token":        new(tree).begin("").word(5, 2, 9).blob(),
		"too deep":             deep.blob(),
		"three address cells":  node(3, 1, cells(1, 2, 3, 4)),
		"no address cells":     node(0, 1, cells(1)),
		"three size cells":     node(1, 3, cells(1, 2, 3, 4)),
		"reg too short":        node(2, 2, cells(1, 2, 3)),
		"no reg":               new(tree).begin("").begin("v").prop("compatible", []byte("virtio,mmio\x00")).word(2, 2, 9).blob(),
		"long property":        new(tree).begin("").word(3, 0xfffffffe, 0).blob(),
		"property name beyond": new(tree).begin("").word(3, 0, 0xffffffff, 2, 9).blob(),
		"cut header":           good[:39],
		"cut":                  good[:len(good)-1],
		"other magic":          append([]byte{1}, good[1:]...),
	} {
		_, err := treeHeaders(blob)
		assert.Check(t, errors.Is(err, errTree), name)
	}
	// Every word of a good one replaced by every kind of nonsense: an error or not, never a
	// panic, never an endless walk.
	for off := 0; off+4 <= len(good); off += 4 {
		for _, v := range []uint32{0, 1, 2, 3, 4, 9, 0x7fffffff, 0xfffffffc, 0xffffffff} {
			bad := append([]byte(nil), good...)
			binary.BigEndian.PutUint32(bad[off:], v)
			_, _ = treeHeaders(bad)
		}
	}
}

func FuzzFDT(f *testing.F) {
	f.Add(fragment(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, err := treeHeaders(b)
		if err != nil && !errors.Is(err, errTree) || err == nil && len(found) > len(b) {
			t.Error(found, err)
		}
	})
}
