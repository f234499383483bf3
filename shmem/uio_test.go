package shmem

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// uioTree is a /sys/class/uio and a /dev with plain files for devices.
type uioTree struct{ sysfs, dev string }

func newUIOTree(t *testing.T) uioTree {
	dir := t.TempDir()
	return uioTree{filepath.Join(dir, "sys"), filepath.Join(dir, "dev")}
}

// add adds a device with its maps, each "addr size offset".
func (u uioTree) add(t *testing.T, node, name string, maps ...string) {
	t.Helper()
	write := func(path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(u.sysfs, node, "name"), name+"\n")
	for i, m := range maps {
		for j, field := range strings.Fields(m) {
			file := []string{"addr", "size", "offset"}[j]
			write(filepath.Join(u.sysfs, node, "maps", fmt.Sprintf("map%d", i), file), field+"\n")
		}
	}
	// A plain file answers offset n*page with its page n, a UIO device with its map n.
	write(filepath.Join(u.dev, node), strings.Repeat("\x00", 8*int(page)))
}

func (u uioTree) open(name string, mapIndex int) (*Region, uint64, error) {
	return openUIO(u.sysfs, u.dev, name, mapIndex)
}

func TestOpenUIO(t *testing.T) {
	if page != 4096 {
		t.Skip("the maps below are of 4096-byte pages")
	}
	u := newUIOTree(t)
	u.add(t, "uio0", "other", "0x0000000036000000 0x0000000000001000 0x0")
	u.add(t, "uio7", "rpmsg", "0x0000000037000000 0x0000000000002000 0x0", "0xff9a0000 0x1000 0x100")

	for _, tt := range []struct {
		name     string
		mapIndex int
		addr     uint64
		size     uint64
		at       uint64 // into the file that stands in for the device
		String   string
	}{
		{"rpmsg", 0, 0x37000000, 0x2000, 0, "uio7"},
		{"uio7", 0, 0x37000000, 0x2000, 0, "uio7"},
		{u.dev + "/uio7", 0, 0x37000000, 0x2000, 0, "uio7"},
		{"rpmsg", 1, 0xff9a0100, 0xf00, 0x1100, "uio7 map1"},
		{"other", 0, 0x36000000, 0x1000, 0, "uio0"},
	} {
		t.Run(fmt.Sprint(filepath.Base(tt.name), " map", tt.mapIndex), func(t *testing.T) {
			r, addr, err := u.open(tt.name, tt.mapIndex)
			b := mustSpan(t, r, err)
			node, _, _ := strings.Cut(tt.String, " ")
			if want := filepath.Join(u.dev, tt.String); addr != tt.addr || r.Size() != tt.size || r.Kind() != Device || r.Sealed() || r.String() != want {
				t.Errorf("opened %d bytes at %#x of %s memory, sealed %v, %s", r.Size(), addr, r.Kind(), r.Sealed(), r)
			}
			whole, err := OpenFile(filepath.Join(u.dev, node), 8*page)
			a := mustSpan(t, whole, err)
			wantShared(t, a.Slice(tt.at, tt.size), b)
			if got := r.File().Name(); got != filepath.Join(u.dev, node) {
				t.Errorf("the file is %s", got)
			}
		})
	}
}

func TestOpenUIO_Refuses(t *testing.T) {
	u := newUIOTree(t)
	r, _, err := u.open("rpmsg", 0)
	wantError(t, r, err, `no UIO device is called "rpmsg"`, u.sysfs, "is the UIO driver loaded?")

	if err := os.MkdirAll(u.sysfs, 0o700); err != nil {
		t.Fatal(err)
	}
	r, _, err = u.open("rpmsg", 0)
	wantError(t, r, err, `no UIO device is called "rpmsg"; there are: none`)

	u.add(t, "uio0", "twin", "0x1000 0x1000 0x0")
	u.add(t, "uio1", "twin", "0x1000 0x1000 0x0")
	u.add(t, "uio2", "bad", "0x1000 0x1000 0x1000", "0x1000 0x0 0x0", "0x1000 many 0x0", "0xfffffffffffff000 0x2000 0x0",
		"0x0 0x8000000000000000 0x0", "0x1000")
	u.add(t, "uio3", "nodev", "0x1000 0x1000 0x0")
	if err := os.Remove(filepath.Join(u.dev, "uio3")); err != nil {
		t.Fatal(err)
	}
	// A device that goes while its folder is read has no name any more.
	if err := os.Mkdir(filepath.Join(u.sysfs, "uio9"), 0o700); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name     string
		mapIndex int
		want     []string
	}{
		{"rpmsg", 0, []string{`no UIO device is called "rpmsg"; there are: twin (uio0), twin (uio1), bad (uio2), nodev (uio3)`}},
		{"", 0, []string{`no UIO device is called ""`}},
		{"../uio0", 0, []string{`no UIO device is called "../uio0"`}},
		{"twin", 0, []string{"uio0, uio1", `called "twin"`}},
		{"uio4", 0, []string{"uio4", "no memory map0", "no such file"}},
		{"uio0", 1, []string{"uio0", "no memory map1", "no such file"}},
		{"uio0", -1, []string{"uio0", "no memory map-1"}},
		{"nodev", 0, []string{filepath.Join(u.dev, "uio3"), "no such file"}},
		{"bad", 0, []string{"uio2/maps/map0", "nothing to map"}},
		{"bad", 1, []string{"uio2/maps/map1", "nothing to map"}},
		{"bad", 2, []string{"uio2/maps/map2/size", "many"}},
		{"bad", 3, []string{"uio2/maps/map3", "nothing to map"}},
		{"bad", 4, []string{"uio2/maps/map4", "nothing to map"}},
		{"bad", 5, []string{"no memory map5", "size"}},
	} {
		r, _, err := u.open(tt.name, tt.mapIndex)
		wantError(t, r, err, tt.want...)
	}
}
