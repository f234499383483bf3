package p9

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

// errnoIs compares numbers: a client has errors of its own type.
func errnoIs(t *testing.T, err error, want unix.Errno) {
	t.Helper()
	if err == nil || errno(err) != uint32(want) {
		t.Errorf("%v, want %v", err, want)
	}
}

// A directory behind the engine, in front of which is a client that nobody here wrote.
func TestDirServed(t *testing.T) {
	s := world(t, scratch(t), DirOptions{})
	s.put("file", "contents")
	assert.NilError(t, os.Symlink("../outside/file", s.host("link")))
	root, err := dial(t, Options{Attacher: s.x}).Attach("")
	assert.NilError(t, err)
	defer root.Close()

	walk := func(names ...string) p9.File {
		t.Helper()
		_, f, err := root.Walk(names)
		assert.NilError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	_, _, err = root.Walk([]string{".."})
	errnoIs(t, err, unix.EINVAL)
	link := walk("link")
	_, _, err = link.Walk([]string{"file"})
	errnoIs(t, err, unix.ENOTDIR)
	_, _, err = link.Open(p9.ReadWrite)
	errnoIs(t, err, unix.ELOOP)
	errnoIs(t, link.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 3}), unix.EINVAL)

	// Written, appended, cut when it has no name any more.
	f := walk()
	f, q, _, err := f.Create("new", p9.ReadWrite|wireAppend, 0o644, p9.NoUID, p9.NoGID)
	assert.NilError(t, err)
	defer f.Close()
	assert.Equal(t, q.Path, s.stat("new").Ino)
	big := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	for _, data := range [][]byte{big, []byte("end")} {
		n, err := f.WriteAt(data, 0)
		assert.NilError(t, err)
		assert.Equal(t, n, len(data))
	}
	assert.Equal(t, s.stat("new").Size, int64(len(big)+3))
	got := make([]byte, len(big)+3)
	n, err := f.ReadAt(got, 0)
	assert.Check(t, err == nil || err == io.EOF)
	assert.Assert(t, bytes.Equal(got[:n], append(big, "end"...)))
	assert.NilError(t, root.UnlinkAt("new", 0))
	assert.NilError(t, f.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 4}))
	_, _, a, err := f.GetAttr(p9.AttrMaskAll)
	assert.NilError(t, err)
	assert.Equal(t, a.Size, uint64(4))

	// Many entries, in as many messages as it takes.
	dir := walk()
	want := []string{".", "..", "file", "link"}
	for i := range 1000 {
		want = append(want, fmt.Sprintf("entry %d", i))
		s.put(want[len(want)-1], "")
	}
	_, _, err = dir.Open(p9.ReadOnly)
	assert.NilError(t, err)
	var names []string
	for off := uint64(0); ; {
		l, err := dir.Readdir(off, 8192)
		if errors.Is(err, io.EOF) || err == nil && len(l) == 0 {
			break
		}
		assert.NilError(t, err)
		for _, e := range l {
			names = append(names, e.Name)
		}
		off = l[len(l)-1].Offset
	}
	assert.DeepEqual(t, names, want, sorted)

	// What is not for a driver.
	_, err = root.Mknod("device", p9.ModeCharacterDevice|0o666, 1, 3, 0, 0)
	errnoIs(t, err, unix.EPERM)
}
