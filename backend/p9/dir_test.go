package p9

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

// sorted compares sets of names.
var sorted = cmpopts.SortSlices(func(a, b string) bool { return a < b })

// The wire's numbers are the same everywhere, the host's are not: what goes into open(2) is
// looked up by name. The two columns are those of the machines that this package runs on.
func TestP9_08_DirFlags(t *testing.T) {
	const always = unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	machine := 0
	switch unix.O_DIRECTORY {
	case 0o200000: // amd64
	case 0o40000: // arm64
		machine = 1
	default:
		t.Fatalf("O_DIRECTORY is %#o", unix.O_DIRECTORY)
	}
	for _, tc := range []struct {
		name string
		wire p9.OpenFlags
		host [2]int // amd64, arm64
	}{
		{"O_RDONLY", 0, [2]int{0, 0}},
		{"O_WRONLY", 1, [2]int{1, 1}},
		{"O_RDWR", 2, [2]int{2, 2}},
		{"O_CREAT", 0o100, [2]int{0, 0}},
		{"O_EXCL", 0o200, [2]int{0, 0}},
		{"O_NOCTTY", 0o400, [2]int{0, 0}},
		{"O_TRUNC", 0o1000, [2]int{0o1000, 0o1000}},
		{"O_APPEND", 0o2000, [2]int{0o2000, 0o2000}},
		{"O_NONBLOCK", 0o4000, [2]int{0, 0}},
		{"O_DSYNC", 0o10000, [2]int{0o10000, 0o10000}},
		{"FASYNC", 0o20000, [2]int{0, 0}},
		{"O_DIRECT", 0o40000, [2]int{0, 0}},     // arm64's O_DIRECTORY
		{"O_LARGEFILE", 0o100000, [2]int{0, 0}}, // arm64's O_NOFOLLOW
		{"O_DIRECTORY", 0o200000, [2]int{0o200000, 0o40000}},
		{"O_NOFOLLOW", 0o400000, [2]int{0, 0}}, // arm64's O_LARGEFILE
		{"O_NOATIME", 0o1000000, [2]int{0o1000000, 0o1000000}},
		{"O_CLOEXEC", 0o2000000, [2]int{0, 0}},
		{"__O_SYNC", 0o4000000, [2]int{0o4010000, 0o4010000}},
		{"O_SYNC", 0o4010000, [2]int{0o4010000, 0o4010000}},
		{"O_PATH", 0o10000000, [2]int{0, 0}},
		{"__O_TMPFILE", 0o20000000, [2]int{0, 0}},
		{"the rest", 0o37740000000, [2]int{0, 0}},
		{"all", 0o37777777776, [2]int{2 | 0o5213000, 2 | 0o5053000}},
	} {
		got, err := openFlags(tc.wire)
		assert.NilError(t, err, tc.name)
		assert.Equal(t, got, tc.host[machine]|always, "%s: %#o", tc.name, got)
	}
	_, err := openFlags(3)
	refused(t, err, unix.EINVAL, "mode 3")
}

// Files of both kinds open with every flag that Linux sends.
func TestDirOpens(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		for bit := range 32 {
			flags := p9.OpenFlags(1) << bit
			if flags == wireTrunc || flags.Mode() != 0 {
				continue
			}
			s.put("file", "contents")
			if flags != wireDirectory {
				assert.Equal(t, contents(t, s.open(flags, "file")), "contents")
				n, err := s.open(flags|p9.WriteOnly, "file").WriteAt([]byte("CON"), 0)
				assert.NilError(t, err)
				assert.Equal(t, n, 3)
			}
			list(t, s.open(flags), 4096)
		}
		f := s.get("file")
		for _, flags := range []p9.OpenFlags{wireDirectory, wireDirectory | p9.ReadWrite} {
			_, _, err := f.Open(flags)
			refused(t, err, unix.ENOTDIR, flags)
		}
		for _, flags := range []p9.OpenFlags{p9.WriteOnly, p9.ReadWrite, wireTrunc} {
			_, _, err := s.root.Open(flags)
			refused(t, err, unix.EISDIR, flags)
		}
		_, _, err := f.Open(3)
		refused(t, err, unix.EINVAL, 3)
		_, _, err = f.Open(p9.ReadWrite)
		assert.NilError(t, err)
		_, _, err = f.Open(p9.ReadWrite)
		refused(t, err, unix.EBUSY, "twice")
	})
}

func TestDirOptions(t *testing.T) {
	dir := scratch(t)
	file := filepath.Join(dir, "file")
	assert.NilError(t, os.WriteFile(file, nil, 0o644))
	for _, tc := range []struct {
		path string
		o    DirOptions
		want string
	}{
		{file, DirOptions{}, "not a directory"},
		{file + "x", DirOptions{}, "no such file"},
		{dir, DirOptions{MaxOpen: -1}, "at most -1"},
		{dir, DirOptions{UIDs: []IDRange{{0, 0, 0}}}, "not a range"},
		{dir, DirOptions{UIDs: []IDRange{{0, 1, math.MaxUint32}}}, "not a range"},
		{dir, DirOptions{GIDs: []IDRange{{1, 0, math.MaxUint32}}}, "not a range"},
		{dir, DirOptions{GIDs: []IDRange{{0, 1000, 10}, {9, 2000, 10}}}, "overlap"},
		{dir, DirOptions{GIDs: []IDRange{{0, 1000, 10}, {10, 991, 10}}}, "overlap"},
		{dir, DirOptions{Squash: &Owner{UID: 5}, UIDs: []IDRange{{0, 1000, 5}}}, "no room for 5:0"},
	} {
		_, err := Dir(tc.path, tc.o)
		assert.ErrorContains(t, err, tc.want)
	}
	assert.NilError(t, os.Symlink(dir, dir+"/link"))
	before := descriptors(t)
	x, err := Dir(dir+"/link", DirOptions{UIDs: []IDRange{{0, 1000, 10}, {10, 2000, 10}, {20, 0, math.MaxUint32 - 3000}}[:2]})
	assert.NilError(t, err)
	f, err := x.Attach()
	assert.NilError(t, err)
	assert.NilError(t, x.Close())
	refused(t, x.Close(), unix.EBADF, "second Close")
	_, err = x.Attach()
	refused(t, err, unix.EBADF, "Attach after Close")
	assert.NilError(t, closed(f.(Stepper).Step("file")))
	assert.NilError(t, f.Close())
	assert.Equal(t, descriptors(t), before)
}

func TestDirWalk(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		assert.NilError(t, os.MkdirAll(s.host("a/b"), 0o755))
		s.put("a/b/file", "x")
		open := s.x.open.Load()
		qids, f, err := s.root.Walk([]string{"a", "b", "file"})
		assert.NilError(t, err)
		assert.Equal(t, s.x.open.Load(), open+1)
		for i, name := range []string{"a", "a/b", "a/b/file"} {
			assert.Equal(t, qids[i].Path, s.stat(name).Ino)
		}
		assert.Equal(t, qids[0].Type, p9.TypeDir)
		assert.Equal(t, qids[2].Type, p9.TypeRegular)
		q, n, m, a, err := f.WalkGetAttr(nil)
		assert.NilError(t, err)
		assert.Equal(t, len(q), 0)
		assert.Equal(t, m, attrMask)
		assert.Equal(t, a.Size, uint64(1))
		assert.NilError(t, f.Close())
		refused(t, f.Close(), unix.EBADF, "second Close")
		_, _, err = n.Open(p9.ReadOnly) // stands on its own
		assert.NilError(t, err)
		assert.NilError(t, n.Close())
		for _, names := range [][]string{{"a", "x", "file"}, {"x"}, {"a", "b", "x"}} {
			_, _, err := s.root.Walk(names)
			refused(t, err, unix.ENOENT, names)
		}
		_, _, err = s.root.Walk([]string{"a", "b", "file", "x"})
		refused(t, err, unix.ENOTDIR)
		assert.Equal(t, s.x.open.Load(), open)
	})
}

// Every mode arrives as it was asked for, whatever the process's umask.
func TestP9_08_DirModes(t *testing.T) {
	for _, mask := range []int{0, 0o77, 0o777} {
		places(t, DirOptions{}, func(t *testing.T, s *share) {
			umask(t, mask)
			for mode := p9.FileMode(0); mode <= modeBits; mode += 15 { // up to 07777
				f := s.create("file", p9.ReadWrite, mode)
				assert.Equal(t, s.stat("file").Mode, uint32(unix.S_IFREG|mode))
				_, err := f.WriteAt([]byte("x"), 0)
				assert.NilError(t, err)
				f.Close()
				assert.NilError(t, s.root.UnlinkAt("file", 0))
			}
			for _, mode := range []p9.FileMode{0o755, 0o1777, 0o2775, 0o4711, 0o7777, 0o700, 0} {
				_, err := s.root.Mkdir("dir", mode, p9.NoUID, p9.NoGID)
				assert.NilError(t, err)
				assert.Equal(t, s.stat("dir").Mode, uint32(unix.S_IFDIR|mode))
				assert.NilError(t, s.root.UnlinkAt("dir", unix.AT_REMOVEDIR))
				_, err = s.root.Mknod("fifo", p9.ModeNamedPipe|mode, 0, 0, p9.NoUID, p9.NoGID)
				assert.NilError(t, err)
				assert.Equal(t, s.stat("fifo").Mode, uint32(unix.S_IFIFO|mode))
				assert.NilError(t, s.root.UnlinkAt("fifo", 0))
				_, err = s.root.Mknod("file", mode, 0, 0, p9.NoUID, p9.NoGID)
				assert.NilError(t, err)
				assert.Equal(t, s.stat("file").Mode, uint32(unix.S_IFREG|mode))
				f := s.get("file")
				for _, mode := range []p9.FileMode{0o4755, 0o2755, 0o1755, 0} {
					assert.NilError(t, f.SetAttr(p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: p9.ModeDirectory | mode}))
					assert.Equal(t, s.stat("file").Mode, uint32(unix.S_IFREG|mode))
				}
				assert.NilError(t, s.root.UnlinkAt("file", 0))
			}
			// Of a directory's group are its children.
			_, err := s.root.Mkdir("group", 0o2775, p9.NoUID, p9.NoGID)
			assert.NilError(t, err)
			_, err = s.get("group").Mkdir("child", 0o755, p9.NoUID, p9.NoGID)
			assert.NilError(t, err)
			assert.Equal(t, s.stat("group/child").Mode, uint32(unix.S_IFDIR|0o2755))
		})
	}
}

func TestDirCreate(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		f := s.create("file", p9.ReadWrite, 0o644)
		_, err := f.WriteAt([]byte("contents"), 0)
		assert.NilError(t, err)
		q, _, _, err := f.GetAttr(p9.AttrMaskAll)
		assert.NilError(t, err)

		again, q2, _, err := s.root.Create("file", p9.ReadOnly, 0o600, p9.NoUID, p9.NoGID)
		assert.NilError(t, err)
		assert.Equal(t, q, q2)
		assert.Equal(t, contents(t, again), "contents")
		assert.NilError(t, again.Close())
		assert.Equal(t, s.stat("file").Mode, uint32(unix.S_IFREG|0o644))
		_, _, _, err = s.root.Create("file", p9.ReadOnly|wireExcl, 0o600, p9.NoUID, p9.NoGID)
		refused(t, err, unix.EEXIST)
		s.has("file", "contents")
		assert.NilError(t, closed2(s.root.Create("file", p9.WriteOnly|wireTrunc, 0o600, p9.NoUID, p9.NoGID)))
		s.has("file", "")

		assert.NilError(t, os.Mkdir(s.host("dir"), 0o755))
		_, _, _, err = s.root.Create("dir", p9.ReadWrite, 0o600, p9.NoUID, p9.NoGID)
		refused(t, err, unix.EISDIR)
		_, _, _, err = s.root.Create("new", wireDirectory, 0o600, p9.NoUID, p9.NoGID)
		refused(t, err, unix.EINVAL)
		_, _, _, err = s.root.Create("new", 3, 0o600, p9.NoUID, p9.NoGID)
		refused(t, err, unix.EINVAL)
		d := s.get("dir")
		assert.NilError(t, s.root.UnlinkAt("dir", unix.AT_REMOVEDIR))
		_, _, _, err = d.Create("new", p9.ReadWrite, 0o600, p9.NoUID, p9.NoGID)
		refused(t, err, unix.ENOENT)
		_, _, _, err = f.Create("new", p9.ReadWrite, 0o600, p9.NoUID, p9.NoGID)
		refused(t, err, unix.ENOTDIR)
		assert.DeepEqual(t, list(t, s.open(p9.ReadOnly), 4096), []string{".", "..", "file"}, sorted)
	})
}

func closed2(f p9.File, q p9.QID, _ uint32, err error) error { return closed(f, q, err) }

// A file that goes away between the two looks that Create takes is made.
func TestDirCreateRace(t *testing.T) {
	s := export(t, memory(t), DirOptions{})
	var others sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for range 2000 {
				f, _, _, err := s.root.Create("file", p9.ReadWrite, 0o600, p9.NoUID, p9.NoGID)
				if err != nil {
					t.Error(err)
					return
				}
				f.Close()
				s.root.UnlinkAt("file", 0)
			}
		})
	}
	others.Wait()
}

// A file that has no name any more is a file still.
func TestDirUnlinked(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		f, shut := s.create("file", p9.ReadWrite, 0o644), s.get("file")
		_, err := f.WriteAt([]byte("contents"), 0)
		assert.NilError(t, err)
		assert.NilError(t, s.root.UnlinkAt("file", 0))
		for _, f := range []*dirFile{f, shut} {
			assert.NilError(t, f.SetAttr(p9.SetAttrMask{Size: true, Permissions: true, MTime: true, MTimeNotSystemTime: true},
				p9.SetAttr{Size: 3, Permissions: 0o4755, MTimeSeconds: 9}))
			_, _, a, err := f.GetAttr(p9.AttrMaskAll)
			assert.NilError(t, err)
			assert.Equal(t, a.Size, uint64(3))
			assert.Equal(t, a.Mode, p9.ModeRegular|0o4755)
			assert.Equal(t, a.MTimeSeconds, uint64(9))
			assert.Equal(t, a.NLink, p9.NLink(0))
			if err := f.SetXattr("user.x", []byte("y"), 0); err != unix.EOPNOTSUPP {
				assert.NilError(t, err)
			}
			refused(t, s.root.Link(f, "again"), unix.ENOENT)
			_, g, err := f.Walk(nil)
			assert.NilError(t, err)
			_, _, err = g.Open(p9.ReadOnly)
			assert.NilError(t, err)
			assert.Equal(t, contents(t, g), "con")
			assert.NilError(t, g.Close())
		}
		assert.NilError(t, f.FSync())
	})
}

// A file that is open to be written can be cut whatever its mode is by then.
func TestDirTruncateOpen(t *testing.T) {
	s := export(t, scratch(t), DirOptions{})
	f := s.create("file", p9.WriteOnly, 0)
	assert.NilError(t, f.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 1 << 40}))
	assert.Equal(t, s.stat("file").Size, int64(1<<40))
	assert.NilError(t, f.SetAttr(p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: 0o600}))
	r := s.open(p9.ReadOnly, "file")
	assert.NilError(t, r.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 1}))
	assert.Equal(t, s.stat("file").Size, int64(1))
}

func TestDirSetAttr(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		s.put("file", "contents")
		assert.NilError(t, os.Mkdir(s.host("dir"), 0o755))
		f, d := s.get("file"), s.get("dir")
		for _, tc := range []struct {
			name string
			f    *dirFile
			v    p9.SetAttrMask
			a    p9.SetAttr
			want unix.Errno
		}{
			{"a directory's size", d, p9.SetAttrMask{Size: true}, p9.SetAttr{}, unix.EISDIR},
			{"size beyond all", f, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 1 << 63}, unix.EFBIG},
			{"nanoseconds of a second", f, p9.SetAttrMask{ATime: true, ATimeNotSystemTime: true}, p9.SetAttr{ATimeNanoSeconds: 1e9}, unix.EINVAL},
			{"UTIME_NOW", f, p9.SetAttrMask{MTime: true, MTimeNotSystemTime: true}, p9.SetAttr{MTimeNanoSeconds: unix.UTIME_NOW}, unix.EINVAL},
			{"UTIME_OMIT", f, p9.SetAttrMask{MTime: true, MTimeNotSystemTime: true}, p9.SetAttr{MTimeNanoSeconds: unix.UTIME_OMIT}, unix.EINVAL},
			{"nobody", f, p9.SetAttrMask{UID: true}, p9.SetAttr{UID: p9.NoUID}, unix.EINVAL},
			{"no group", f, p9.SetAttrMask{GID: true}, p9.SetAttr{GID: p9.NoGID}, unix.EINVAL},
		} {
			before := snapshot(t, s.path)
			tc.v.Permissions, tc.a.Permissions = true, 0o7777
			if !tc.v.Size {
				tc.v.Size = tc.f == f
			}
			refused(t, tc.f.SetAttr(tc.v, tc.a), tc.want, tc.name)
			assert.DeepEqual(t, before, snapshot(t, s.path))
		}

		for _, f := range []*dirFile{f, d} {
			stat := func() (st unix.Stat_t) {
				assert.NilError(t, unix.Fstat(f.fd, &st))
				return st
			}
			assert.NilError(t, f.SetAttr(p9.SetAttrMask{ATime: true, ATimeNotSystemTime: true, MTime: true, MTimeNotSystemTime: true}, p9.SetAttr{
				ATimeSeconds: 1, ATimeNanoSeconds: 999999999, MTimeSeconds: 1 << 33, MTimeNanoSeconds: 123456789,
			}))
			st := stat()
			assert.Equal(t, st.Atim, unix.Timespec{Sec: 1, Nsec: 999999999})
			assert.Equal(t, st.Mtim, unix.Timespec{Sec: 1 << 33, Nsec: 123456789})
			_, _, a, err := f.GetAttr(p9.AttrMaskAll)
			assert.NilError(t, err)
			assert.Equal(t, a.MTimeSeconds, uint64(1<<33))
			assert.Equal(t, a.MTimeNanoSeconds, uint64(123456789))

			assert.NilError(t, f.SetAttr(p9.SetAttrMask{ATime: true}, p9.SetAttr{ATimeSeconds: 7})) // now
			st = stat()
			assert.Assert(t, st.Atim.Sec > 1e9)
			assert.Equal(t, st.Mtim.Sec, int64(1<<33))
			assert.NilError(t, f.SetAttr(p9.SetAttrMask{MTime: true}, p9.SetAttr{}))
			assert.Assert(t, stat().Mtim.Sec < 1<<33)
			minus := int64(-5) // before 1970
			assert.NilError(t, f.SetAttr(p9.SetAttrMask{MTime: true, MTimeNotSystemTime: true}, p9.SetAttr{MTimeSeconds: uint64(minus)}))
			assert.Equal(t, stat().Mtim.Sec, minus)

			// Order: a new owner takes setuid away, and a new size changes times; not here.
			assert.NilError(t, f.SetAttr(p9.SetAttrMask{
				Size: f.kind == unix.S_IFREG, UID: true, GID: true, Permissions: true, MTime: true, MTimeNotSystemTime: true, CTime: true,
			}, p9.SetAttr{UID: p9.UID(os.Geteuid()), GID: p9.GID(os.Getegid()), Permissions: 0o6755, MTimeSeconds: 4}))
			st = stat()
			assert.Equal(t, st.Mode&modeBits, uint32(0o6755))
			assert.Equal(t, st.Mtim.Sec, int64(4))
			assert.NilError(t, f.SetAttr(p9.SetAttrMask{CTime: true}, p9.SetAttr{}))
			assert.NilError(t, f.SetAttr(p9.SetAttrMask{}, p9.SetAttr{}))
		}
		assert.Equal(t, s.stat("file").Size, int64(0))
	})
}

// As root, owners are the driver's to choose.
func TestDirOwner(t *testing.T) {
	asRoot(t)
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		check := func(name string, uid, gid uint32) {
			t.Helper()
			st := s.stat(name)
			assert.Equal(t, [2]uint32{st.Uid, st.Gid}, [2]uint32{uid, gid}, name)
		}
		makeAll(t, s, 12, 34, 0o4755)
		for _, name := range []string{"file", "dir", "link", "fifo"} {
			check(name, 12, 34)
			if name != "link" {
				assert.Equal(t, s.stat(name).Mode&modeBits, uint32(0o4755))
			}
		}
		f := s.get("file")
		assert.NilError(t, f.SetAttr(p9.SetAttrMask{UID: true}, p9.SetAttr{UID: 56}))
		check("file", 56, 34)
		assert.Equal(t, s.stat("file").Mode&modeBits, uint32(0o755)) // as Linux does
		assert.NilError(t, f.SetAttr(p9.SetAttrMask{GID: true}, p9.SetAttr{GID: 0}))
		check("file", 56, 0)
	})
}

// makeAll makes one of each.
func makeAll(t *testing.T, s *share, uid p9.UID, gid p9.GID, perm p9.FileMode) {
	t.Helper()
	f, _, _, err := s.root.Create("file", p9.ReadWrite, perm, uid, gid)
	assert.NilError(t, err)
	assert.NilError(t, f.Close())
	_, err = s.root.Mkdir("dir", perm, uid, gid)
	assert.NilError(t, err)
	_, err = s.root.Symlink("anywhere", "link", uid, gid)
	assert.NilError(t, err)
	_, err = s.root.Mknod("fifo", p9.ModeNamedPipe|perm, 0, 0, uid, gid)
	assert.NilError(t, err)
}

// With a map, owners are the host's numbers there and the driver's here.
func TestP9_08_DirIDMap(t *testing.T) {
	asRoot(t)
	s := export(t, scratch(t), DirOptions{
		UIDs: []IDRange{{Guest: 0, Host: 100000, Count: 1000}, {Guest: 1000, Host: 5000, Count: 1}},
		GIDs: []IDRange{{Guest: 0, Host: 200000, Count: 65536}},
	})
	makeAll(t, s, 12, 34, 0o644)
	for _, name := range []string{"file", "dir", "link", "fifo"} {
		st := s.stat(name)
		assert.Equal(t, [2]uint32{st.Uid, st.Gid}, [2]uint32{100012, 200034}, name)
		_, _, a, err := s.get(name).GetAttr(p9.AttrMaskAll)
		assert.NilError(t, err)
		assert.Equal(t, [2]uint32{uint32(a.UID), uint32(a.GID)}, [2]uint32{12, 34}, name)
	}
	f := s.get("file")
	owner := func(uid p9.UID, gid p9.GID) error {
		return f.SetAttr(p9.SetAttrMask{UID: true, GID: true}, p9.SetAttr{UID: uid, GID: gid})
	}
	assert.NilError(t, owner(1000, 65535))
	assert.Equal(t, s.stat("file").Uid, uint32(5000))
	assert.Equal(t, s.stat("file").Gid, uint32(265535))
	refused(t, owner(1001, 0), unix.EINVAL)
	refused(t, owner(0, 65536), unix.EINVAL)
	refused(t, owner(p9.NoUID, 0), unix.EINVAL)
	assert.Equal(t, s.stat("file").Uid, uint32(5000))
	_, _, _, err := s.root.Create("new", p9.ReadWrite, 0o644, 1001, 0)
	refused(t, err, unix.EINVAL)
	_, err = s.root.Mkdir("new", 0o755, 0, 65536)
	refused(t, err, unix.EINVAL)
	_, err = os.Lstat(s.host("new"))
	assert.Assert(t, os.IsNotExist(err))

	assert.NilError(t, os.Chown(s.host("file"), 0, 0)) // none of the driver's
	_, _, a, err := f.GetAttr(p9.AttrMaskAll)
	assert.NilError(t, err)
	assert.Equal(t, [2]uint32{uint32(a.UID), uint32(a.GID)}, [2]uint32{overflowID, overflowID})
}

// With squash there is one owner.
func TestP9_08_DirSquash(t *testing.T) {
	asRoot(t)
	s := export(t, scratch(t), DirOptions{Squash: &Owner{UID: 0, GID: 7}, UIDs: []IDRange{{Guest: 0, Host: 1000, Count: 1}}})
	makeAll(t, s, 12, 34, 0o644)
	s.put("host's", "")
	for name, want := range map[string]uint32{"file": 1000, "dir": 1000, "link": 1000, "fifo": 1000, "host's": 0} {
		assert.Equal(t, s.stat(name).Uid, want, name)
		f := s.get(name)
		_, _, a, err := f.GetAttr(p9.AttrMaskAll)
		assert.NilError(t, err)
		assert.Equal(t, [2]uint32{uint32(a.UID), uint32(a.GID)}, [2]uint32{0, 7}, name)
		before := s.stat(name)
		assert.NilError(t, f.SetAttr(p9.SetAttrMask{UID: true, GID: true}, p9.SetAttr{UID: 0, GID: 7}))
		refused(t, f.SetAttr(p9.SetAttrMask{UID: true}, p9.SetAttr{UID: 12}), unix.EPERM, name)
		refused(t, f.SetAttr(p9.SetAttrMask{GID: true}, p9.SetAttr{GID: 0}), unix.EPERM, name)
		refused(t, f.SetAttr(p9.SetAttrMask{UID: true}, p9.SetAttr{UID: p9.NoUID}), unix.EPERM, name)
		assert.Equal(t, s.stat(name), before)
	}
	assert.Equal(t, s.stat("file").Gid, uint32(7))
}

func TestDirRename(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		for _, dir := range []string{"a", "a/b", "empty"} {
			assert.NilError(t, os.Mkdir(s.host(dir), 0o755))
		}
		s.put("one", "1")
		s.put("two", "2")
		a, two := s.get("a"), s.open(p9.ReadOnly, "two")
		assert.NilError(t, s.root.RenameAt("one", s.root, "two"))
		s.has("two", "1")
		assert.Equal(t, contents(t, two), "2")
		assert.NilError(t, s.root.RenameAt("two", a, "three"))
		s.has("a/three", "1")
		refused(t, s.root.RenameAt("two", a, "three"), unix.ENOENT)
		refused(t, s.root.RenameAt("a", s.get("a", "b"), "a"), unix.EINVAL, "into itself")
		refused(t, s.root.RenameAt("empty", a, "three"), unix.ENOTDIR)
		refused(t, a.RenameAt("three", s.root, "empty"), unix.EISDIR)
		refused(t, s.root.RenameAt("empty", s.root, "a"), unix.ENOTEMPTY)
		assert.NilError(t, s.root.RenameAt("empty", a, "b"))
		b := s.get("a", "b")
		assert.NilError(t, s.root.RenameAt("a", s.root, "z"))
		s.create("new", p9.ReadWrite, 0o644)
		assert.NilError(t, s.root.RenameAt("new", b, "moved")) // the file is what counts
		assert.Equal(t, s.stat("z/b/moved").Size, int64(0))
		refused(t, a.Rename(s.root, "x"), unix.EOPNOTSUPP)

		refused(t, s.root.UnlinkAt("z", 0), unix.EISDIR)
		refused(t, a.UnlinkAt("three", unix.AT_REMOVEDIR), unix.ENOTDIR)
		refused(t, s.root.UnlinkAt("z", unix.AT_REMOVEDIR), unix.ENOTEMPTY)
		refused(t, a.UnlinkAt("three", unix.AT_REMOVEDIR|1), unix.EINVAL)
		refused(t, a.UnlinkAt("three", 0x80000000), unix.EINVAL)
		assert.NilError(t, a.UnlinkAt("three", 0))
	})
}

// Two exports are two worlds, even of one directory; so are other implementations.
func TestDirStrangers(t *testing.T) {
	s := export(t, scratch(t), DirOptions{})
	s.put("file", "")
	x, err := Dir(s.path, DirOptions{})
	assert.NilError(t, err)
	defer x.Close()
	other, err := x.Attach()
	assert.NilError(t, err)
	defer other.Close()
	refused(t, s.root.RenameAt("file", other, "moved"), unix.EXDEV)
	refused(t, s.root.RenameAt("file", nil, "moved"), unix.EXDEV)
	f, _, err := other.(Stepper).Step("file")
	assert.NilError(t, err)
	defer f.Close()
	refused(t, s.root.Link(f, "moved"), unix.EXDEV)
	refused(t, s.root.Link(nil, "moved"), unix.EXDEV)
}

func TestDirLink(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		f := s.create("file", p9.ReadWrite, 0o644)
		assert.NilError(t, s.root.Link(f, "other"))
		assert.Equal(t, s.stat("other").Ino, s.stat("file").Ino)
		_, _, a, err := f.GetAttr(p9.AttrMaskAll)
		assert.NilError(t, err)
		assert.Equal(t, a.NLink, p9.NLink(2))
		refused(t, s.root.Link(f, "other"), unix.EEXIST)
		refused(t, s.root.Link(s.root, "dir"), unix.EPERM)
		refused(t, f.Link(f, "x"), unix.ENOTDIR)
	})
}

func TestDirReadWrite(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		f := s.create("file", p9.ReadWrite, 0o644)
		n, err := f.WriteAt([]byte("contents"), 2)
		assert.NilError(t, err)
		assert.Equal(t, n, 8)
		s.has("file", "\x00\x00contents")
		b := make([]byte, 6)
		n, err = f.ReadAt(b, 8)
		assert.NilError(t, err)
		assert.Equal(t, string(b[:n]), "ts")
		n, err = f.ReadAt(b, 10)
		assert.Equal(t, err, io.EOF)
		assert.Equal(t, n, 0)
		n, err = f.ReadAt(nil, 10)
		assert.NilError(t, err)
		assert.Equal(t, n, 0)
		for _, off := range []int64{-1, math.MinInt64} {
			_, err = f.ReadAt(b, off)
			refused(t, err, unix.EINVAL)
			_, err = f.WriteAt(b, off)
			refused(t, err, unix.EINVAL)
		}
		_, err = f.WriteAt(b, math.MaxInt64)
		assert.Assert(t, is(err, unix.EFBIG, unix.EINVAL))
		assert.NilError(t, f.FSync())

		shut := s.get("file")
		_, err = shut.ReadAt(b, 0)
		refused(t, err, unix.EBADF)
		_, err = shut.WriteAt(b, 0)
		refused(t, err, unix.EBADF)
		refused(t, shut.FSync(), unix.EBADF)
		_, err = s.open(p9.ReadOnly, "file").WriteAt(b, 0)
		refused(t, err, unix.EBADF)
		_, err = s.open(p9.WriteOnly, "file").ReadAt(b, 0)
		refused(t, err, unix.EBADF)
		d := s.open(p9.ReadOnly)
		_, err = d.ReadAt(b, 0)
		refused(t, err, unix.EISDIR)
		assert.NilError(t, d.FSync())
	})
}

// Buffers in any number are one piece of the file.
func TestDirVectors(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		for _, count := range []int{0, 1, 2, 7, 8, 9, 16, 17, 100, 1500} {
			for _, size := range []int{1, 3, 4096} {
				if count*size > 1<<20 {
					continue
				}
				f := s.create("file", p9.ReadWrite|wireTrunc, 0o644)
				data := make([]byte, count*size)
				for i := range data {
					data[i] = byte(i*7 + i/256)
				}
				v := slices.Collect(slices.Chunk(slices.Clone(data), size))
				if count > 3 {
					v = slices.Insert(v, 3, nil, []byte{})
				}
				n, err := f.WriteVecAt(v, 5)
				assert.NilError(t, err)
				assert.Equal(t, n, len(data))
				got := make([]byte, len(data)+9)
				v = slices.Collect(slices.Chunk(got, size))
				n, err = f.ReadVecAt(v, 5)
				assert.NilError(t, err)
				assert.Equal(t, n, len(data), "%d of %d", count, size)
				assert.Assert(t, bytes.Equal(data, got[:n]))
				n, err = f.ReadVecAt(v, int64(len(data))+5)
				assert.NilError(t, err)
				assert.Equal(t, n, 0)
				f.Close()
			}
		}
		f := s.open(p9.ReadOnly, "file")
		v := [][]byte{{1}, {2}}
		for _, err := range []error{
			second(f.ReadVecAt(v, -1)), second(f.WriteVecAt(v, 0)), second(s.get("file").ReadVecAt(v, 0)), second(s.open(p9.ReadOnly).ReadVecAt(v, 0)),
		} {
			assert.Check(t, is(err, unix.EINVAL, unix.EBADF, unix.EISDIR), err)
		}
	})
}

func second(_ int, err error) error { return err }

// What is opened to append appends, however stale the offset, and in one piece.
func TestDirAppend(t *testing.T) {
	s := export(t, memory(t), DirOptions{})
	s.put("file", "")
	const writers, rounds, parts = 3, 100, 30
	var all sync.WaitGroup
	for w := range writers {
		f := s.open(p9.WriteOnly|wireAppend, "file")
		all.Go(func() {
			v := make([][]byte, parts)
			for i := range v {
				v[i] = []byte{byte('a' + w)}
			}
			for range rounds {
				if n, err := f.WriteVecAt(v, 0); err != nil || n != parts {
					t.Errorf("%d, %v", n, err)
				}
			}
		})
	}
	all.Wait()
	b, err := os.ReadFile(s.host("file"))
	assert.NilError(t, err)
	assert.Equal(t, len(b), writers*rounds*parts)
	for record := range slices.Chunk(b, parts) {
		for _, c := range record {
			assert.Equal(t, c, record[0])
		}
	}
	n, err := s.open(p9.WriteOnly|wireAppend, "file").WriteAt([]byte("end"), 1)
	assert.NilError(t, err)
	assert.Equal(t, n, 3)
	assert.Equal(t, s.stat("file").Size, int64(len(b)+3))
}

func TestDirStatFS(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		var want unix.Statfs_t
		assert.NilError(t, unix.Statfs(s.path, &want))
		got, err := s.root.StatFS()
		assert.NilError(t, err)
		assert.Equal(t, got.Type, uint32(want.Type))
		assert.Equal(t, got.BlockSize, uint32(want.Bsize))
		assert.Equal(t, got.Blocks, want.Blocks)
		assert.Equal(t, got.NameLength, uint32(255))
		assert.Assert(t, got.Blocks > 0 && got.BlocksFree > 0 && got.BlocksAvailable > 0)
	})
}

// Identities: of one device as its inodes, of others never two the same.
func TestDirQID(t *testing.T) {
	x := &Export{dev: 5}
	seen := map[uint64]string{}
	for _, dev := range []uint64{5, 6, 7, 1 << 32} {
		for _, ino := range []uint64{0, 1, 2, 256, 257, 1 << 32, 1<<32 | 1, 1 << 48, 1 << 63, math.MaxUint64} {
			path, name := x.path(dev, ino), fmt.Sprintf("%d on %d", ino, dev)
			if seen[path] != "" {
				t.Errorf("%s is like %s", name, seen[path])
			}
			seen[path] = name
			if dev == x.dev {
				assert.Equal(t, path, ino)
			}
		}
	}
	versions := map[uint32]bool{}
	for nsec := range int64(10000) {
		st := unix.Stat_t{Ctim: unix.Timespec{Sec: 1e9 + nsec/100, Nsec: nsec * 4e6 % 1e9}}
		versions[version(&st)] = true
	}
	assert.Assert(t, len(versions) > 9990, "%d", len(versions))
	assert.Equal(t, version(&unix.Stat_t{}), uint32(1)) // shuffle(0) is 0

	s := export(t, memory(t), DirOptions{})
	f := s.create("file", p9.ReadWrite, 0o644)
	var st unix.Stat_t
	assert.NilError(t, unix.Fstat(f.fd, &st))
	q, _, _, err := f.GetAttr(p9.AttrMaskAll)
	assert.NilError(t, err)
	assert.Equal(t, q, p9.QID{Path: st.Ino, Version: version(&st)})
}

// A file that was made is open by the descriptor that stands for it. Another File made of it is
// not, and does not keep its locks.
func TestDirCloneOfNew(t *testing.T) {
	s := export(t, scratch(t), DirOptions{})
	f, _, _, err := s.root.Create("file", p9.ReadWrite, 0o644, p9.NoUID, p9.NoGID)
	assert.NilError(t, err)
	assert.NilError(t, s.root.UnlinkAt("file", 0))
	_, c, err := f.Walk(nil)
	assert.NilError(t, err)
	_, d, err := c.Walk(nil)
	assert.NilError(t, err)
	assert.NilError(t, c.Close())
	defer d.Close()
	_, err = d.ReadAt(make([]byte, 1), 0)
	refused(t, err, unix.EBADF)
	flags, err := unix.FcntlInt(uintptr(d.(*dirFile).fd), unix.F_GETFL, 0)
	assert.NilError(t, err)
	assert.Assert(t, flags&unix.O_PATH != 0, "the copy keeps the file open")
	got, err := f.Lock(0, p9.WriteLock, 0, 0, 0, "")
	assert.NilError(t, err)
	assert.Equal(t, got, p9.LockStatusOK)
	_, _, err = d.Open(p9.ReadWrite)
	assert.NilError(t, err)
	got, err = d.Lock(1, p9.WriteLock, 0, 0, 0, "")
	assert.NilError(t, err)
	assert.Equal(t, got, p9.LockStatusBlocked)
	_, _, err = f.Open(p9.ReadWrite)
	refused(t, err, unix.EBUSY)
	assert.NilError(t, f.Close())
	got, err = d.Lock(1, p9.WriteLock, 0, 0, 0, "")
	assert.NilError(t, err)
	assert.Equal(t, got, p9.LockStatusOK)
}
