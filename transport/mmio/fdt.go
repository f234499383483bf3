package mmio

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// FDT is the flattened device tree fragment (DT specification v0.4, structure version 17) that
// tells a driver where the headers are: one virtio,mmio node a device under the root.
func (m Map) FDT() []byte {
	var f fdt
	f.begin("")
	f.cells("#address-cells", 2)
	f.cells("#size-cells", 2)
	for _, p := range m.Places {
		if p.Modern() {
			continue // for who looks into the directory
		}
		f.begin(fmt.Sprintf("virtio@%x", p.Header))
		f.prop("compatible", append([]byte("virtio,mmio"), 0))
		f.cells("reg", uint32(p.Header>>32), uint32(p.Header), 0, HeaderSize)
		f.prop("dma-coherent", nil)
		f.end()
	}
	f.end()
	return f.bytes()
}

// Tokens of the structure block.
const (
	fdtBeginNode = 1
	fdtEndNode   = 2
	fdtProp      = 3
	fdtEnd       = 9
)

type fdt struct {
	tree    bytes.Buffer
	strings bytes.Buffer
}

func (f *fdt) word(v uint32) { f.tree.Write(binary.BigEndian.AppendUint32(nil, v)) }

func (f *fdt) pad() {
	for f.tree.Len()%4 != 0 {
		f.tree.WriteByte(0)
	}
}

func (f *fdt) begin(name string) {
	f.word(fdtBeginNode)
	f.tree.WriteString(name + "\x00")
	f.pad()
}

func (f *fdt) end() { f.word(fdtEndNode) }

func (f *fdt) cells(name string, v ...uint32) {
	var b []byte
	for _, c := range v {
		b = binary.BigEndian.AppendUint32(b, c)
	}
	f.prop(name, b)
}

func (f *fdt) prop(name string, value []byte) {
	f.word(fdtProp)
	f.word(uint32(len(value)))
	f.word(f.name(name))
	f.tree.Write(value)
	f.pad()
}

// name is the offset of a property name in the strings block, where each stands once.
func (f *fdt) name(s string) uint32 {
	s += "\x00"
	if i := bytes.Index(f.strings.Bytes(), []byte(s)); i >= 0 && (i == 0 || f.strings.Bytes()[i-1] == 0) {
		return uint32(i)
	}
	f.strings.WriteString(s)
	return uint32(f.strings.Len() - len(s))
}

func (f *fdt) bytes() []byte {
	f.word(fdtEnd)
	const header, reserve = 40, 16 // the memory reservation block is one empty entry
	tree := header + reserve
	names := tree + f.tree.Len()
	total := names + f.strings.Len()
	var b []byte
	for _, v := range []int{0xd00dfeed, total, tree, names, header, 17, 16, 0, f.strings.Len(), f.tree.Len()} {
		b = binary.BigEndian.AppendUint32(b, uint32(v))
	}
	b = append(b, make([]byte, reserve)...)
	b = append(b, f.tree.Bytes()...)
	return append(b, f.strings.Bytes()...)
}
