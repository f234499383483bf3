package p9_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hypervisorless/virtio/backend/p9"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
)

// message is size[4] type[1] tag[2] and the fields, little endian.
func message(typ byte, fields ...any) []byte {
	b := []byte{0, 0, 0, 0, typ, 1, 0}
	for _, f := range fields {
		if s, ok := f.(string); ok {
			b = binary.LittleEndian.AppendUint16(b, uint16(len(s)))
			b = append(b, s...)
		} else {
			b, _ = binary.Append(b, binary.LittleEndian, f)
		}
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

// A directory of the host is shared, and a driver reads a file of it.
func Example() {
	dir, err := os.MkdirTemp("", "share")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "motd"), []byte("welcome aboard"), 0o644); err != nil {
		fmt.Println(err)
		return
	}
	tree, err := p9.Dir(dir, p9.DirOptions{ReadOnly: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tree.Close()
	share, err := p9.New(p9.Options{Tag: "host", Attacher: tree})
	if err != nil {
		fmt.Println(err)
		return
	}

	// A transport would carry it; here a test bench does.
	rig, err := virtiotest.OpenRig("share", share, virtiotest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rig.Close()
	if err := rig.Up(virtio.FeatureSet(virtio.Version1, p9.MountTag)); err != nil {
		fmt.Println(err)
		return
	}
	var reply []byte
	for _, in := range [][]byte{
		message(100, uint32(8192), "9P2000.L"),                     // Tversion
		message(104, uint32(0), ^uint32(0), "root", "", uint32(0)), // Tattach: fid 0 is the root
		message(110, uint32(0), uint32(1), uint16(1), "motd"),      // Twalk: fid 1 is motd
		message(12, uint32(1), uint32(0)),                          // Tlopen
		message(116, uint32(1), uint64(0), uint32(100)),            // Tread
	} {
		if reply, err = rig.Queue(0).Do(in, 128); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Printf("%s\n", reply[11:]) // Rread: header, count[4], data
	if err := rig.Reset(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(share.Stats().Read, "bytes read,", share.Stats().Files, "files held")
	// Output:
	// welcome aboard
	// 14 bytes read, 0 files held
}
