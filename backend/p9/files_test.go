package p9

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"gotest.tools/v3/assert"
)

// TestReaddirLosesNothing lists a directory with every count there is room for an entry with.
func TestReaddirLosesNothing(t *testing.T) {
	for _, each := range []bool{false, true} {
		fs := newMemFS()
		var want []string
		for i := range 40 {
			name := strings.Repeat("x", i) + "!"
			fs.put(name, "")
			want = append(want, name)
		}
		slices.Sort(want)
		var a p9.Attacher = fs
		if each {
			a = eachFS{fs}
		}
		b := newBench(t, Options{Attacher: a}).up()
		b.must(msgTlopen, 0, 0)
		for count := direntSize + 40; count < 2000; count += 1 + count/9 {
			var got []string
			for off, n := uint64(0), 0; ; n++ {
				d := decoder{b: b.must(msgTreaddir, 0, off, count).data()}
				assert.Assert(t, len(d.b) <= count)
				if len(d.b) == 0 {
					break
				}
				for len(d.b) > 0 {
					d.take(qidSize)
					off = d.u64()
					d.u8()
					got = append(got, string(d.str()))
				}
				assert.Assert(t, !d.short)
			}
			assert.DeepEqual(t, got, want)
		}
		b.fails(linux.EINVAL, msgTreaddir, 0, uint64(39), direntSize+30)
	}
}

// eachFS has a root that hands out its entries one by one.
type eachFS struct{ *memFS }

type eachDir struct{ *memFile }

func (e eachFS) Attach() (p9.File, error) {
	f, err := e.memFS.Attach()
	return eachDir{below(f)}, err
}

func (e eachDir) EachDirent(off uint64, emit func(*Dirent) bool) error {
	ents, err := e.Readdir(off, 1<<20)
	for _, d := range ents {
		if !emit(&Dirent{QID: d.QID, Offset: d.Offset, Type: d.Type, Name: []byte(d.Name)}) {
			break
		}
	}
	return err
}

// TestXattr sets, reads, lists and removes attributes, by fids of their own.
func TestXattr(t *testing.T) {
	fs := newMemFS()
	file := fs.put("file", "data")
	b := newBench(t, Options{Attacher: fs}).up()
	b.must(msgTwalk, 0, 1, uint16(1), "file")
	b.must(msgTlopen, 1, 2)
	set := func(name, value string, flags int, pieces int) *answer {
		b.must(msgTwalk, 1, 2, uint16(0))
		b.must(msgTxattrcreate, 2, name, uint64(len(value)), flags)
		for off := 0; off < len(value); off += pieces {
			p := value[off:min(off+pieces, len(value))]
			b.must(msgTwrite, 2, uint64(off), len(p), []byte(p))
		}
		return b.ask(msgTclunk, 1, 2)
	}
	assert.Equal(t, set("user.a", "first value", 0, 3).typ, uint8(msgTclunk+1))
	assert.Equal(t, set("user.b", "", 0, 1).typ, uint8(msgTclunk+1))
	assert.Equal(t, string(file.xattrs["user.a"]), "first value")
	get := func(name string) string {
		n := b.must(msgTxattrwalk, 1, 3, name).u64()
		v := string(b.must(msgTread, 3, uint64(0), 1000).data())
		assert.Equal(t, uint64(len(v)), n)
		assert.Equal(t, string(b.must(msgTread, 3, n-min(n, 2), 1000).data()), v[len(v)-min(len(v), 2):])
		assert.Equal(t, len(b.must(msgTread, 3, n+5, 1000).data()), 0)
		b.fails(linux.EBADF, msgTwrite, 3, uint64(0), 1, []byte("x"))
		b.fails(linux.EINVAL, msgTgetattr, 3, uint64(1))
		b.must(msgTclunk, 3)
		return v
	}
	assert.Equal(t, get("user.a"), "first value")
	assert.Equal(t, get("user.b"), "")
	assert.Equal(t, get(""), "user.a\x00user.b\x00")
	// The file is as open as it was.
	assert.Equal(t, string(b.must(msgTread, 1, uint64(0), 10).data()), "data")
	// Errors come through: of the walk at once, of the value when it is set.
	b.fails(linux.ENODATA, msgTxattrwalk, 1, 3, "user.c")
	a := set("trusted.x", "v", 0, 1)
	assert.Equal(t, a.typ, uint8(msgRlerror))
	assert.Equal(t, a.u32(), uint32(linux.EPERM))
	b.fails(linux.EBADF, msgTclunk, 2)
	// Replacing by nothing is removing.
	assert.Equal(t, set("user.a", "", int(p9.XattrReplace), 1).typ, uint8(msgTclunk+1))
	_, there := file.xattrs["user.a"]
	assert.Assert(t, !there)
	// What was promised has to be written, in order, and no more.
	b.must(msgTwalk, 1, 2, uint16(0))
	b.must(msgTxattrcreate, 2, "user.d", uint64(4), 0)
	b.fails(linux.EINVAL, msgTxattrcreate, 2, "user.d", uint64(4), 0)
	b.fails(linux.EINVAL, msgTwrite, 2, uint64(1), 1, []byte("x"))
	b.fails(linux.EINVAL, msgTwrite, 2, uint64(0), 5, []byte("xxxxx"))
	b.must(msgTwrite, 2, uint64(0), 3, []byte("xxx"))
	b.fails(linux.EINVAL, msgTclunk, 2)
	assert.Equal(t, len(file.xattrs), 1)
	assert.Equal(t, b.dev.Stats().Xattrs, int64(0))
}

// TestUnlinkedOpenFile can still be written, truncated, asked.
func TestUnlinkedOpenFile(t *testing.T) {
	fs := newMemFS()
	file := fs.put("file", "data")
	b := newBench(t, Options{Attacher: fs}).up()
	b.must(msgTwalk, 0, 1, uint16(1), "file")
	b.must(msgTlopen, 1, 2)
	b.must(msgTunlinkat, 0, "file", 0)
	b.must(msgTsetattr, 1, 8, 0, 0, 0, uint64(2), uint64(0), uint64(0), uint64(0), uint64(0))
	assert.Equal(t, string(file.data), "da")
	b.must(msgTwrite, 1, uint64(2), 2, []byte("ys"))
	assert.Equal(t, string(b.must(msgTread, 1, uint64(0), 9).data()), "days")
	b.must(msgTgetattr, 1, uint64(0x3fff))
	b.fails(linux.EINVAL, msgTremove, 1) // it has no name
	b.fails(linux.EBADF, msgTclunk, 1)
}

// TestRenamed tells the Files that are concerned where they are now.
func TestRenamed(t *testing.T) {
	for _, how := range []string{"renameat", "rename"} {
		fs := newMemFS()
		fs.put("dir/sub/file", "")
		fs.put("dir/other", "")
		fs.put("to/victim", "")
		b := newBench(t, Options{Attacher: fs}).up()
		b.must(msgTwalk, 0, 1, uint16(3), "dir", "sub", "file")
		b.must(msgTwalk, 0, 2, uint16(2), "dir", "other")
		b.must(msgTwalk, 0, 3, uint16(1), "to")
		b.must(msgTwalk, 0, 4, uint16(1), "dir")
		b.must(msgTwalk, 3, 5, uint16(1), "victim")
		if how == "renameat" {
			b.must(msgTrenameat, 4, "sub", 3, "victim")
		} else {
			b.must(msgTwalk, 4, 6, uint16(1), "sub")
			b.must(msgTrename, 6, 3, "victim")
			b.must(msgTclunk, 6)
		}
		slices.Sort(fs.calls)
		want := []string{"file", "victim"}
		if how == "rename" {
			want = append(want, "victim")
		}
		assert.DeepEqual(t, fs.calls, want)
		// The old victim has no name any more; the new one's is known.
		b.fails(linux.EINVAL, msgTremove, 5)
		b.must(msgTremove, 1)
		b.must(msgTwalk, 0, 1, uint16(2), "to", "victim")
		assert.Equal(t, len(fs.root.children["to"].children["victim"].children), 0)
		b.must(msgTremove, 1)
		assert.Equal(t, len(fs.root.children["to"].children), 0)
		b.must(msgTremove, 2)
		assert.Equal(t, len(fs.root.children["dir"].children), 0)
		b.s.end()
		assert.Equal(t, fs.live, 0)
		assert.Equal(t, len(b.dev.tree.root.children), 0)
	}
}

// TestRemoveByName of Concurrent files finds out when the name is somebody else's by now.
func TestRemoveByName(t *testing.T) {
	fs := newMemFS()
	fs.concurrent = true
	fs.put("file", "")
	b := newBench(t, Options{Attacher: fs}).up()
	b.must(msgTwalk, 0, 1, uint16(1), "file")
	fs.put("file", "") // the host replaces it
	b.fails(linux.ENOENT, msgTremove, 1)
	assert.Equal(t, len(fs.root.children), 1)
	b.must(msgTwalk, 0, 1, uint16(1), "file")
	b.must(msgTremove, 1)
	assert.Equal(t, len(fs.root.children), 0)
}

// TestPromises has every method run against every other, and sees that none runs beside one it
// must not run beside.
func TestPromises(t *testing.T) {
	fs := newMemFS()
	for i := range 4 {
		fs.put(fmt.Sprintf("d%d/f", i), "data")
	}
	var readers, writers sync.Map // by inode
	var global, any atomic.Int32
	count := func(m *sync.Map, n *inode) *atomic.Int32 {
		c, _ := m.LoadOrStore(n, new(atomic.Int32))
		return c.(*atomic.Int32)
	}
	var broken atomic.Pointer[string]
	fs.hold = func(f *memFile, call string) {
		bad := func(why string) {
			s := call + " " + why
			broken.CompareAndSwap(nil, &s)
		}
		switch call {
		case "Walk", "GetAttr", "Open", "ReadAt", "WriteAt", "Readdir":
			any.Add(1)
			defer any.Add(-1)
			r, w := count(&readers, f.n), count(&writers, f.n)
			r.Add(1)
			if w.Load() != 0 {
				bad("beside a change of its directory")
			}
			runtime.Gosched()
			r.Add(-1)
		case "Create", "Mkdir", "UnlinkAt", "SetAttr", "Link":
			any.Add(1)
			defer any.Add(-1)
			r, w := count(&readers, f.n), count(&writers, f.n)
			if w.Add(1) != 1 || r.Load() != 0 {
				bad("beside another call")
			}
			runtime.Gosched()
			w.Add(-1)
		case "RenameAt", "Renamed":
			if global.Add(1) != 1 || any.Load() != 0 {
				bad("is not alone")
			}
			runtime.Gosched()
			global.Add(-1)
		default:
			return
		}
		if global.Load() != 0 && call != "RenameAt" && call != "Renamed" {
			bad("beside a rename")
		}
	}
	b := newBench(t, Options{Attacher: fs}).up()
	for i := range 4 {
		b.must(msgTwalk, 0, i+1, uint16(1), fmt.Sprintf("d%d", i))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		for i := range 8 {
			d, e := rng.IntN(4)+1, rng.IntN(4)+1
			name := fmt.Sprintf("n%d", rng.IntN(3))
			tag := uint16(i)
			var in []byte
			switch rng.IntN(7) {
			case 0:
				in = msg(msgTmkdir, tag, d, name, 0755, 0)
			case 1:
				in = msg(msgTunlinkat, tag, d, name, 0x200)
			case 2:
				in = msg(msgTrenameat, tag, d, name, e, name)
			case 3:
				in = msg(msgTwalk, tag, d, 100+i, uint16(1), name)
			case 4:
				in = msg(msgTgetattr, tag, d, uint64(1))
			case 5:
				in = msg(msgTclunk, tag, 100+i)
			case 6:
				in = msg(msgTsetattr, tag, d, 1, 0755, 0, 0, uint64(0), uint64(0), uint64(0), uint64(0), uint64(0))
			}
			b.offer(in, 512)
		}
		for range 8 {
			b.next()
		}
	}
	if why := broken.Load(); why != nil {
		t.Error(*why)
	}
	b.s.end()
	assert.Equal(t, fs.live, 0)
	assert.Equal(t, b.dev.Stats().Files, int64(0))
	assert.Equal(t, len(b.dev.tree.root.children), 0)
}

// TestPanic costs its request.
func TestPanic(t *testing.T) {
	for _, vectors := range []bool{false, true} {
		testPanic(t, vectors)
	}
}

func testPanic(t *testing.T, vectors bool) {
	fs := newMemFS()
	fs.vectors = vectors
	fs.put("file", "data")
	var bad string
	fs.hold = func(_ *memFile, call string) {
		if call == bad {
			panic("a file's own affair")
		}
	}
	b := newBench(t, Options{Attacher: fs}).up()
	b.must(msgTwalk, 0, 1, uint16(1), "file")
	b.must(msgTlopen, 1, 2)
	b.must(msgTsymlink, 0, "link", "file", 0)
	b.must(msgTwalk, 0, 3, uint16(1), "link")
	n := uint64(0)
	files := b.dev.Stats().Files
	for call, in := range map[string][]byte{
		"ReadAt":   msg(msgTread, 1, 1, uint64(0), 4),
		"WriteAt":  msg(msgTwrite, 1, 1, uint64(0), 4, []byte("data")),
		"GetAttr":  msg(msgTgetattr, 1, 1, uint64(1)),
		"Walk":     msg(msgTwalk, 1, 0, 2, uint16(1), "file"),
		"Create":   msg(msgTlcreate, 1, 0, "new", 0, 0644, 0),
		"UnlinkAt": msg(msgTunlinkat, 1, 0, "file", 0),
		"RenameAt": msg(msgTrenameat, 1, 0, "file", 0, "x"),
		"GetXattr": msg(msgTxattrwalk, 1, 1, 2, "user.x"),
		"Renamed":  msg(msgTrenameat, 1, 0, "file", 0, "file2"),
		"Open":     msg(msgTlopen, 1, 0, 0),
		"Readlink": msg(msgTreadlink, 1, 3),
	} {
		if call == "Renamed" && vectors {
			continue // nobody is told
		}
		bad = call
		b.offer(in, 512)
		a := read9(t, b.next().out)
		assert.Equal(t, a.typ, uint8(msgRlerror), call)
		assert.Equal(t, a.u32(), uint32(linux.EIO), call)
		n++
		assert.Equal(t, b.dev.Stats().Panics, n)
		bad = ""
		b.must(msgTgetattr, 0, uint64(1)) // no lock was left behind
		b.must(msgTwalk, 0, 2, uint16(0))
		b.must(msgTclunk, 2)
		assert.Equal(t, b.dev.Stats().Files, files, call)
	}
	bad = "GetAttr"
	b.offer(msg(msgTattach, 1, 9, uint32(noFID), "", "", 0), 512)
	assert.Equal(t, read9(t, b.next().out).typ, uint8(msgRlerror))
	assert.Equal(t, b.dev.Stats().Files, files)
	n++
	bad = "Close"
	b.must(msgTclunk, 1)
	assert.Equal(t, b.dev.Stats().Panics, n+1)
	bad = ""
}

func TestErrno(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want linux.Errno
	}{
		{linux.ENOENT, linux.ENOENT},
		{syscall.EDQUOT, linux.EDQUOT},
		{fmt.Errorf("wrapped: %w", syscall.ENOSPC), linux.ENOSPC},
		{fmt.Errorf("wrapped: %w", linux.EROFS), linux.EROFS},
		{&fs.PathError{Op: "open", Err: syscall.ELOOP}, linux.ELOOP},
		{fs.ErrNotExist, linux.ENOENT},
		{fs.ErrExist, linux.EEXIST},
		{fs.ErrPermission, linux.EACCES},
		{fs.ErrInvalid, linux.EINVAL},
		{fs.ErrClosed, linux.EBADF},
		{errors.New("something else"), linux.EIO},
		{linux.Errno(0), linux.EIO},
		{linux.Errno(1 << 20), linux.EIO},
	} {
		assert.Equal(t, linux.Errno(errno(tt.err)), tt.want, "%v", tt.err)
	}
}

// TestMemory is bounded: failed operations leave nothing behind.
func TestMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has memory of its own")
	}
	fs := newMemFS()
	fs.put("dir/file", "")
	b := newBench(t, Options{Attacher: fs}).up()
	b.s.ring = noWires{}
	p := &plain{out: make([]byte, 0, 512)}
	rng := rand.New(rand.NewPCG(3, 4))
	run := func(n int) {
		for range n {
			name := fmt.Sprintf("%x", rng.Uint64())
			for _, in := range [][]byte{
				msg(msgTunlinkat, 1, 0, name, 0), msg(msgTwalk, 1, 0, 5, uint16(1), name),
				msg(msgTwalk, 1, 0, 5, uint16(3), "dir", name, name),
				msg(msgTrenameat, 1, 0, name, 0, name+"x"), msg(msgTxattrwalk, 1, 0, 5, name),
				msg(msgTxattrcreate, 1, 77, name, uint64(1<<40), 0),
				msg(msgTread, 1, rng.Uint32(), uint64(0), uint32(1<<32-1)),
				msg(uint8(rng.Uint32()), 1, 0), msg(msgTclunk, 1, 5),
			} {
				p.in, p.out = in, p.out[:0]
				b.s.begin(p)
				b.s.serve(p)
			}
		}
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	run(1000)
	before := heap()
	run(112_000)
	if after := heap(); after > before+1<<20 {
		t.Errorf("a million failed operations grew the heap by %d bytes", after-before)
	}
	assert.Equal(t, len(b.dev.tree.root.children), 0)
}

func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, w := range benchWork() {
		a := newAlone(t, benchTree(t))
		p := &plain{out: make([]byte, 0, w.room)}
		if n := testing.AllocsPerRun(200, func() { a.do(p, w.in) }); n != 0 {
			t.Errorf("%s: %v allocations", w.name, n)
		}
		assert.Equal(t, p.out[4], w.in[4]+1)
	}
	// A walk costs its name and its File, and nothing for the engine. Where the kernel is too old
	// to keep a walk on its mount, the File looks where it is.
	want := 2.0
	if export(t, t.TempDir(), DirOptions{}).x.mount != "" {
		want = 10
	}
	a := newAlone(t, benchTree(t))
	walk, clunk := msg(msgTwalk, 1, 0, 2, uint16(1), "file"), msg(msgTclunk, 1, 2)
	p := &plain{out: make([]byte, 0, 64)}
	if n := testing.AllocsPerRun(200, func() { a.do(p, walk); a.do(p, clunk) }); n > want {
		t.Errorf("walk and clunk: %v allocations", n)
	}
}
