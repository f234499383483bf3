package p9

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

// A node of the model: what a file is, kept in memory.
type node struct {
	dir  map[string]*node // nil for a file
	data []byte
	mode uint32
	link int
}

func (n *node) within(m *node) bool {
	if n == m {
		return true
	}
	for _, c := range m.dir {
		if c.dir != nil && n.within(c) {
			return true
		}
	}
	return false
}

// A pair is a file of the export and what it has to be.
type pair struct {
	f *dirFile
	n *node
}

// 10^5 operations on a small tree and on files that are open, many of them without a name any
// more, end as they do in a model, errors included.
func TestDirModel(t *testing.T) {
	steps := 100000
	if testing.Short() || raceEnabled {
		steps = 10000
	}
	s := export(t, memory(t), DirOptions{})
	rnd := rand.New(rand.NewPCG(9, 2000))
	root := &node{dir: map[string]*node{}, mode: 0o755, link: 1}
	dirs, files := []pair{{s.root, root}}, []pair{}
	defer func() {
		for _, p := range slices.Concat(dirs[1:], files) {
			p.f.Close()
		}
	}()
	names := []string{"a", "b", "c", "d", "e"}
	name := func() string { return names[rnd.IntN(len(names))] }
	pick := func(from []pair) pair { return from[rnd.IntN(len(from))] }
	expect := func(what string, err error, want unix.Errno) bool {
		t.Helper()
		if want == 0 && err != nil || want != 0 && err != want {
			t.Fatalf("%s: %v, want %v", what, err, want)
		}
		return err == nil
	}
	type cond struct {
		is  bool
		err unix.Errno
	}
	when := func(conds ...cond) unix.Errno { // the first that is so
		for _, c := range conds {
			if c.is {
				return c.err
			}
		}
		return 0
	}
	counts := map[string]int{}
	for i := range steps {
		if len(dirs) > 8 {
			k := 1 + rnd.IntN(len(dirs)-1)
			assert.NilError(t, dirs[k].f.Close())
			dirs = slices.Delete(dirs, k, k+1)
		}
		if len(files) > 8 {
			k := rnd.IntN(len(files))
			assert.NilError(t, files[k].f.Close())
			files = slices.Delete(files, k, k+1)
		}
		d, nm := pick(dirs), name()
		child := d.n.dir[nm]
		gone, isDir := d.n.link == 0, child != nil && child.dir != nil
		what, ok := "", false
		switch op := rnd.IntN(12); {
		case op == 0:
			what = "mkdir"
			_, err := d.f.Mkdir(nm, 0o755, p9.NoUID, p9.NoGID)
			if ok = expect(what, err, when(cond{child != nil, unix.EEXIST}, cond{gone, unix.ENOENT})); ok {
				d.n.dir[nm] = &node{dir: map[string]*node{}, mode: 0o755, link: 1}
			}
		case op == 1:
			what = "create"
			mode := uint32(rnd.IntN(0o2000)) | 0o600 // nothing that writing takes away
			flags := p9.OpenFlags(p9.ReadWrite)
			if excl := rnd.IntN(2) == 0; excl {
				flags |= wireExcl
			}
			f, _, _, err := d.f.Create(nm, flags, p9.FileMode(mode), p9.NoUID, p9.NoGID)
			if ok = expect(what, err, when(cond{child != nil && flags&wireExcl != 0, unix.EEXIST}, cond{isDir, unix.EISDIR}, cond{gone, unix.ENOENT})); ok {
				if child == nil {
					child = &node{mode: mode, link: 1}
					d.n.dir[nm] = child
				}
				files = append(files, pair{f.(*dirFile), child})
			}
		case op == 2 || op == 3:
			what = "step"
			f, _, err := d.f.Step(nm)
			if ok = expect(what, err, when(cond{child == nil, unix.ENOENT})); ok {
				if child.dir != nil {
					dirs = append(dirs, pair{f.(*dirFile), child})
					break
				}
				_, _, err = f.Open(p9.ReadWrite)
				assert.NilError(t, err)
				files = append(files, pair{f.(*dirFile), child})
			}
		case op == 4:
			what = "unlink"
			if ok = expect(what, d.f.UnlinkAt(nm, 0), when(cond{child == nil, unix.ENOENT}, cond{isDir, unix.EISDIR})); ok {
				delete(d.n.dir, nm)
				child.link--
			}
		case op == 5:
			what = "rmdir"
			if ok = expect(what, d.f.UnlinkAt(nm, unix.AT_REMOVEDIR), when(cond{child == nil, unix.ENOENT}, cond{!isDir, unix.ENOTDIR}, cond{isDir && len(child.dir) > 0, unix.ENOTEMPTY})); ok {
				delete(d.n.dir, nm)
				child.link--
			}
		case op == 6:
			what = "rename"
			to, nm2 := pick(dirs), name()
			old := to.n.dir[nm2]
			err := d.f.RenameAt(nm, to.f, nm2)
			if child != nil && child != old && (child.dir != nil && to.n.within(child) || old != nil && old.dir != nil && d.n.within(old)) {
				// Into itself, or over one's own parent: which error it is depends on the file system.
				assert.Assert(t, is(err, unix.EINVAL, unix.ENOTEMPTY, unix.EISDIR, unix.ENOENT), err)
				break
			}
			want := unix.Errno(0)
			switch {
			case child == nil:
				want = unix.ENOENT
			case child == old:
			case old == nil && to.n.link == 0:
				want = unix.ENOENT
			case old != nil && child.dir != nil && old.dir == nil:
				want = unix.ENOTDIR
			case old != nil && child.dir == nil && old.dir != nil:
				want = unix.EISDIR
			case old != nil && len(old.dir) > 0:
				want = unix.ENOTEMPTY
			}
			if ok = expect(what, err, want); ok && child != old {
				delete(d.n.dir, nm)
				to.n.dir[nm2] = child
				if old != nil {
					old.link--
				}
			}
		case op == 7:
			what = "readdir"
			_, f, err := d.f.Walk(nil)
			assert.NilError(t, err)
			_, _, err = f.Open(p9.ReadOnly)
			assert.NilError(t, err)
			if gone {
				_, err := f.Readdir(0, 4096)
				refused(t, err, unix.ENOENT, "readdir") // as Linux says
			} else {
				want := slices.AppendSeq([]string{".", ".."}, maps.Keys(d.n.dir))
				assert.DeepEqual(t, list(t, f.(*dirFile), 60), want, sorted)
			}
			f.Close()
			ok = true
		case len(files) == 0:
		case op == 8:
			what = "link"
			p := pick(files)
			if ok = expect(what, d.f.Link(p.f, nm), when(cond{child != nil, unix.EEXIST}, cond{gone || p.n.link == 0, unix.ENOENT})); ok {
				d.n.dir[nm] = p.n
				p.n.link++
			}
		case op == 9:
			what = "write"
			p, data := pick(files), bytes.Repeat([]byte{byte(i)}, 1+rnd.IntN(5000))
			off := rnd.IntN(20000)
			var n int
			var err error
			if rnd.IntN(2) == 0 {
				n, err = p.f.WriteAt(data, int64(off))
			} else {
				n, err = p.f.WriteVecAt(slices.Collect(slices.Chunk(data, 1+rnd.IntN(len(data)))), int64(off))
			}
			assert.NilError(t, err)
			assert.Equal(t, n, len(data))
			p.n.data = append(p.n.data, make([]byte, max(0, off+n-len(p.n.data)))...)
			copy(p.n.data[off:], data)
			ok = true
		case op == 10:
			what = "setattr"
			p := pick(files)
			size, mode := rnd.IntN(20000), uint32(rnd.IntN(0o2000))|0o600
			assert.NilError(t, p.f.SetAttr(p9.SetAttrMask{Size: true, Permissions: true}, p9.SetAttr{Size: uint64(size), Permissions: p9.FileMode(mode)}))
			p.n.mode = mode
			p.n.data = append(p.n.data, make([]byte, max(0, size-len(p.n.data)))...)[:size]
			ok = true
		case op == 11:
			what = "read"
			p, b := pick(files), make([]byte, 1+rnd.IntN(9000))
			off := rnd.IntN(20000)
			n, err := p.f.ReadAt(b, int64(off))
			want := p.n.data[min(off, len(p.n.data)):]
			want = want[:min(len(want), len(b))]
			if len(want) == 0 {
				assert.Equal(t, err, io.EOF)
			} else {
				assert.NilError(t, err)
			}
			assert.Assert(t, bytes.Equal(b[:n], want))
			_, _, a, err := p.f.GetAttr(p9.AttrMaskAll)
			assert.NilError(t, err)
			assert.Equal(t, fmt.Sprintf("%o %d bytes %d links", a.Mode, a.Size, a.NLink),
				fmt.Sprintf("%o %d bytes %d links", unix.S_IFREG|p.n.mode, len(p.n.data), p.n.link))
			ok = true
		}
		if ok {
			counts[what]++
		}
	}
	for _, what := range []string{"mkdir", "create", "step", "unlink", "rmdir", "rename", "readdir", "link", "write", "setattr", "read"} {
		assert.Assert(t, counts[what] > steps/1000, "%s went well only %d times of %d", what, counts[what], steps)
	}
}
