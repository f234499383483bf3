package p9

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/fsimpl/localfs"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"gotest.tools/v3/assert"
)

// trees are file systems that the library's client is let loose on: one that needs the locks of
// p9.File, one that does not, and the library's own.
func trees(t *testing.T, f func(t *testing.T, a p9.Attacher)) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T) p9.Attacher
	}{
		{"locked", func(*testing.T) p9.Attacher { return newMemFS() }},
		{"concurrent", func(*testing.T) p9.Attacher { m := newMemFS(); m.concurrent = true; return m }},
		{"vectors", func(*testing.T) p9.Attacher { m := newMemFS(); m.vectors = true; return m }},
		{"localfs", func(t *testing.T) p9.Attacher { return localfs.Attacher(t.TempDir()) }},
	} {
		t.Run(tt.name, func(t *testing.T) { f(t, tt.make(t)) })
	}
}

// TestClientFiles is what the library's acceptance test asks of a file system, through its
// client and this engine.
func TestClientFiles(t *testing.T) {
	trees(t, func(t *testing.T, a p9.Attacher) {
		c := dial(t, Options{Attacher: a})
		root, err := c.Attach("/")
		assert.NilError(t, err)
		_, dir, err := root.Walk(nil)
		assert.NilError(t, err)
		rq, _, ra, err := root.GetAttr(p9.AttrMaskAll)
		assert.NilError(t, err)
		dq, _, da, err := dir.GetAttr(p9.AttrMaskAll)
		assert.NilError(t, err)
		assert.DeepEqual(t, rq, dq)
		assert.DeepEqual(t, ra, da)

		f, _, _, err := dir.Create("file", p9.ReadWrite, 0666, p9.NoUID, p9.NoGID)
		assert.NilError(t, err)
		_, again, err := root.Walk(nil)
		assert.NilError(t, err)
		_, _, _, err = again.Create("file", p9.ReadWrite|0200, 0666, p9.NoUID, p9.NoGID) // O_EXCL
		assert.ErrorIs(t, err, linux.EEXIST)

		data := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
		n, err := f.WriteAt(data, 0)
		assert.NilError(t, err)
		assert.Equal(t, n, len(data))
		got := make([]byte, len(data))
		_, err = f.ReadAt(got, 0)
		assert.NilError(t, err)
		assert.Assert(t, bytes.Equal(got, data))
		assert.NilError(t, f.FSync())

		_, err = root.Mkdir("sub", 0755, p9.NoUID, p9.NoGID)
		assert.NilError(t, err)
		_, err = root.Symlink("file", "link", p9.NoUID, p9.NoGID)
		assert.NilError(t, err)
		_, ln, err := root.Walk([]string{"link"})
		assert.NilError(t, err)
		target, err := ln.Readlink()
		assert.NilError(t, err)
		assert.Equal(t, target, "file")

		_, d, err := root.Walk(nil)
		assert.NilError(t, err)
		_, _, err = d.Open(p9.ReadOnly)
		assert.NilError(t, err)
		ents, err := d.Readdir(0, 4096)
		assert.NilError(t, err)
		var names []string
		for _, e := range ents {
			names = append(names, e.Name)
			qids, _, err := root.Walk([]string{e.Name})
			assert.NilError(t, err)
			assert.DeepEqual(t, qids, []p9.QID{e.QID})
		}
		slices.Sort(names)
		assert.DeepEqual(t, names, []string{"file", "link", "sub"})

		_, sub, err := root.Walk([]string{"sub"})
		assert.NilError(t, err)
		assert.NilError(t, root.RenameAt("file", sub, "moved"))
		_, _, err = root.Walk([]string{"file"})
		assert.ErrorIs(t, err, linux.ENOENT)
		_, moved, err := root.Walk([]string{"sub", "moved"})
		assert.NilError(t, err)
		_, _, attr, err := moved.GetAttr(p9.AttrMaskAll)
		assert.NilError(t, err)
		assert.Equal(t, attr.Size, uint64(len(data)))
		assert.NilError(t, sub.UnlinkAt("moved", 0))
		qids, _, err := sub.Walk([]string{"moved"})
		assert.ErrorIs(t, err, linux.ENOENT, "%v", qids)
		for _, f := range []p9.File{f, ln, d, sub, dir, again, root} {
			f.Close()
		}
	})
}

// TestClientCrowd has many goroutines on one connection.
func TestClientCrowd(t *testing.T) {
	trees(t, func(t *testing.T, a p9.Attacher) {
		c := dial(t, Options{Attacher: a})
		root, err := c.Attach("")
		assert.NilError(t, err)
		var crowd sync.WaitGroup
		for i := range 8 {
			crowd.Go(func() {
				for k := range 20 {
					name := fmt.Sprintf("%d-%d", i, k)
					_, dir, err := root.Walk(nil)
					if !assert.Check(t, err) {
						return
					}
					f, _, _, err := dir.Create(name, p9.ReadWrite, 0666, p9.NoUID, p9.NoGID)
					if !assert.Check(t, err) {
						return
					}
					_, err = f.WriteAt([]byte(name), 0)
					assert.Check(t, err)
					assert.Check(t, root.RenameAt(name, root, name+"x"))
					got := make([]byte, len(name))
					_, err = f.ReadAt(got, 0)
					assert.Check(t, err)
					assert.Check(t, string(got) == name)
					assert.Check(t, f.Close())
					assert.Check(t, root.UnlinkAt(name+"x", 0))
				}
			})
		}
		crowd.Wait()
		assert.NilError(t, root.Close())
	})
}
