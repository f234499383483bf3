package driver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// treeSize is how much of a window in the DTB layout is the device tree fragment's.
const treeSize = 0x10000

// treeMagic is the first word of a flattened device tree, big-endian in memory.
const treeMagic = 0xd00dfeed

// Tokens of the structure block (DT specification v0.4, 5.4.1).
const (
	treeBeginNode = 1
	treeEndNode   = 2
	treeProp      = 3
	treeNop       = 4
	treeEnd       = 9
)

// treeDepth bounds how deep nodes nest; the fragment's lie right under the root.
const treeDepth = 8

var errTree = errors.New("device tree fragment is malformed")

// treeNode is what counts of a node while it is open.
type treeNode struct {
	addrCells, sizeCells uint32 // of its children's reg
	ours                 bool   // compatible with virtio,mmio
	reg                  []byte
}

// treeReader reads the words of a structure block and never runs out of it.
type treeReader struct {
	block   []byte
	strings []byte
	bad     bool
}

func (t *treeReader) word() uint32 {
	if b := t.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// take is the next n bytes, without the padding behind them, or nil.
func (t *treeReader) take(n uint32) []byte {
	if uint64(n) > uint64(len(t.block)) {
		t.bad = true
		return nil
	}
	b := t.block[:n:n]
	t.block = t.block[min((uint64(n)+3)&^3, uint64(len(t.block))):]
	return b
}

// skipName is past a node's name, which ends in a zero byte.
func (t *treeReader) skipName() {
	end := bytes.IndexByte(t.block, 0)
	if end < 0 {
		t.bad = true
		return
	}
	t.take(uint32(end) + 1)
}

// prop is the name and value of a property.
func (t *treeReader) prop() (name string, value []byte) {
	n, at := t.word(), t.word()
	value = t.take(n)
	if uint64(at) > uint64(len(t.strings)) {
		t.bad = true
		return "", nil
	}
	end := bytes.IndexByte(t.strings[at:], 0)
	if end < 0 {
		t.bad = true
		return "", nil
	}
	return string(t.strings[at : at+uint32(end)]), value
}

// treeHeaders returns the addresses of the virtio,mmio headers that the tree names, in order. b
// is private memory, and nothing in it is believed to be in place.
func treeHeaders(b []byte) ([]uint64, error) {
	if len(b) < 40 || binary.BigEndian.Uint32(b) != treeMagic {
		return nil, errTree
	}
	field := func(i int) uint64 { return uint64(binary.BigEndian.Uint32(b[4*i:])) }
	total := field(1)
	// A part, given by the fields of its offset and its size.
	part := func(off, size int) []byte {
		if o, n := field(off), field(size); total <= uint64(len(b)) && o <= total && n <= total-o && o%4 == 0 {
			return b[o : o+n]
		}
		return nil
	}
	t := treeReader{block: part(2, 9)}
	if o, n := field(3), field(8); total <= uint64(len(b)) && o <= total && n <= total-o {
		t.strings = b[o : o+n]
	}
	if t.block == nil || t.strings == nil {
		return nil, errTree
	}

	var found []uint64
	var open [treeDepth + 1]treeNode // open[0] is around the root
	depth := 0
	for !t.bad {
		switch token := t.word(); {
		case token == treeBeginNode && depth < treeDepth:
			t.skipName()
			depth++
			open[depth] = treeNode{addrCells: 2, sizeCells: 1}
		case token == treeProp && depth > 0:
			name, value := t.prop()
			open[depth].set(name, value)
		case token == treeEndNode && depth > 0:
			if n := open[depth]; n.ours {
				addr, err := n.address(open[depth-1])
				if err != nil {
					return nil, err
				}
				found = append(found, addr)
			}
			depth--
		case token == treeNop:
		case token == treeEnd && depth == 0:
			return found, nil
		default:
			return nil, errTree
		}
	}
	return nil, errTree
}

// set keeps a property if it is one that counts.
func (n *treeNode) set(name string, value []byte) {
	switch {
	case name == "compatible":
		for _, s := range bytes.Split(value, []byte{0}) {
			n.ours = n.ours || string(s) == "virtio,mmio"
		}
	case name == "reg":
		n.reg = value
	case name == "#address-cells" && len(value) == 4:
		n.addrCells = binary.BigEndian.Uint32(value)
	case name == "#size-cells" && len(value) == 4:
		n.sizeCells = binary.BigEndian.Uint32(value)
	}
}

// address is the first address of the node's reg, whose form its parent says.
func (n *treeNode) address(parent treeNode) (uint64, error) {
	a, s := parent.addrCells, parent.sizeCells
	if a < 1 || a > 2 || s > 2 || len(n.reg) < int(4*(a+s)) {
		return 0, fmt.Errorf("%w: reg of %d bytes, %d address and %d size cells", errTree, len(n.reg), a, s)
	}
	var addr uint64
	for i := range a {
		addr = addr<<32 | uint64(binary.BigEndian.Uint32(n.reg[4*i:]))
	}
	return addr, nil
}
