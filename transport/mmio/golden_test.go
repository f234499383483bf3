package mmio

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"

	"github.com/hypervisorless/virtio/virtio"
)

// The bytes that front-ends were built against. A change here is a change of the wire.

func fourDevices(t *testing.T, layout Layout) *rig {
	t.Helper()
	region := newRegionOf(t, 2*winSize)
	toys := []*toy{
		{queues: 1, id: virtio.IDEntropy, features: virtio.FeatureSet(0, 31-8)},
		{queues: 2, id: virtio.IDConsole, config: []byte{80, 0, 24, 0, 1, 0, 0, 0}},
		{queues: 1, id: virtio.ID9P, size: 128, config: []byte("\x05\x00share")},
	}
	return newRig(t, region, func(o *Options) { o.Layout = layout }, toys...)
}

func TestGoldenHeaders(t *testing.T) {
	for _, layout := range []Layout{Table, Tree} {
		t.Run(layout.String(), func(t *testing.T) {
			r := fourDevices(t, layout).start()
			var b strings.Builder
			for _, p := range r.bus.Map().Places {
				header := make([]byte, HeaderSize)
				r.mem.ReadAt(header, p.Header-winAddr)
				fmt.Fprintf(&b, "%s at %#x\n%s", p.Name, p.Header, hex.Dump(header))
			}
			golden.Assert(t, b.String(), "headers-"+layout.String()+".golden")
		})
	}
}

func TestGoldenTree(t *testing.T) {
	r := fourDevices(t, Tree).start()
	want := r.bus.Map().FDT()
	golden.AssertBytes(t, want, "tree.dtb")
	got := make([]byte, len(want)+1)
	r.mem.ReadAt(got, 0)
	assert.Assert(t, bytes.Equal(got, append(want, 0)), "the window holds another tree")
}

// The tree read by a parser that shares nothing with its writer.
func TestTreeParses(t *testing.T) {
	m, err := NewMap(Tree, 0x12_3700_0000, 1<<24, Slot{"rng", virtio.IDEntropy, 0}, Slot{"net", virtio.IDNet, 0}, Slot{"big", virtio.ID9P, 0x400000})
	assert.NilError(t, err)
	nodes := parseTree(t, m.FDT())
	assert.DeepEqual(t, nodes[""], map[string]string{"#address-cells": "00000002", "#size-cells": "00000002"})
	assert.Equal(t, len(nodes), 4)
	for _, at := range []string{"1237010000", "1237016000", "1237096000"} {
		node := nodes["virtio@"+at]
		assert.Equal(t, node["reg"], "000000"+at[:2]+at[2:]+"0000000000000200")
		assert.Equal(t, node["compatible"], hex.EncodeToString([]byte("virtio,mmio\x00")))
		_, coherent := node["dma-coherent"]
		assert.Assert(t, coherent && len(node) == 3)
	}
}

// parseTree reads a flattened tree of depth two by the letter of its specification.
func parseTree(t *testing.T, b []byte) map[string]map[string]string {
	t.Helper()
	word := func(off uint32) uint32 { return binary.BigEndian.Uint32(b[off:]) }
	header := make([]uint32, 10)
	for i := range header {
		header[i] = word(uint32(4 * i))
	}
	assert.Equal(t, header[0], uint32(0xd00dfeed))
	assert.Equal(t, header[1], uint32(len(b)))
	structs, names, reserve := header[2], header[3], header[4]
	assert.Equal(t, header[5], uint32(17))
	assert.Equal(t, header[6], uint32(16))
	assert.Assert(t, structs%4 == 0 && reserve%8 == 0)
	assert.DeepEqual(t, b[reserve:reserve+16], make([]byte, 16))
	assert.Equal(t, structs+header[9], names)
	assert.Equal(t, names+header[8], uint32(len(b)))
	text := func(off uint32) string { return string(b[off : off+uint32(bytes.IndexByte(b[off:], 0))]) }

	nodes := map[string]map[string]string{}
	var path []string
	for off := structs; ; {
		token := word(off)
		off += 4
		switch token {
		case 1:
			path = append(path, text(off))
			nodes[path[len(path)-1]] = map[string]string{}
			off += (uint32(len(path[len(path)-1])) + 1 + 3) &^ 3
		case 2:
			path = path[:len(path)-1]
		case 3:
			n, name := word(off), text(names+word(off+4))
			nodes[path[len(path)-1]][name] = hex.EncodeToString(b[off+8 : off+8+n])
			off += 8 + (n+3)&^3
		case 9:
			assert.Equal(t, len(path), 0)
			assert.Equal(t, off, names)
			return nodes
		default:
			t.Fatalf("token %d at %#x", token, off-4)
		}
	}
}

func TestTreeByDTC(t *testing.T) {
	dtc, err := exec.LookPath("dtc")
	if err != nil {
		t.Skip("dtc, the device tree compiler, is not installed")
	}
	cmd := exec.Command(dtc, "-I", "dtb", "-O", "dts", "-")
	cmd.Stdin = bytes.NewReader(fourDevices(t, Tree).bus.Map().FDT())
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	assert.NilError(t, err)
	assert.Equal(t, complaints.String(), "")
	// Its versions differ in how many zeros they write.
	golden.Assert(t, regexp.MustCompile(`0x0+([0-9a-f])`).ReplaceAllString(string(out), "0x$1"), "tree.dts")
}
