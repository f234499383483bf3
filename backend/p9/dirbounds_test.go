package p9

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

// Attributes are copies, bounded, and in the driver's own namespace.
func TestP9_08_DirXattr(t *testing.T) {
	for name, o := range map[string]DirOptions{
		"as it is": {},
		"squash":   {Squash: &Owner{}},
		"map":      {UIDs: []IDRange{{0, 0, 1 << 16}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := export(t, scratch(t), o)
			s.put("file", "")
			if err := unix.Setxattr(s.host("file"), "user.try", nil, 0); err != nil {
				t.Skip("the file system has no attributes:", err)
			}
			assert.NilError(t, unix.Removexattr(s.host("file"), "user.try"))
			assert.NilError(t, os.Mkdir(s.host("dir"), 0o755))
			for _, f := range []*dirFile{s.get("file"), s.get("dir")} {
				names, err := f.ListXattrs()
				assert.NilError(t, err)
				assert.Equal(t, len(names), 0)
				_, err = f.GetXattr("user.none")
				refused(t, err, unix.ENODATA)
				refused(t, f.RemoveXattr("user.none"), unix.ENODATA)
				refused(t, f.SetXattr("user.a", nil, p9.XattrReplace), unix.ENODATA)
				assert.NilError(t, f.SetXattr("user.a", []byte("one"), p9.XattrCreate))
				refused(t, f.SetXattr("user.a", []byte("two"), p9.XattrCreate), unix.EEXIST)
				assert.NilError(t, f.SetXattr("user.a", []byte("two"), p9.XattrReplace))
				assert.NilError(t, f.SetXattr("user.empty", nil, 0))
				value, err := f.GetXattr("user.a")
				assert.NilError(t, err)
				assert.Equal(t, string(value), "two")
				assert.NilError(t, f.SetXattr("user.a", []byte("three"), 0))
				assert.Equal(t, string(value), "two")
				value, err = f.GetXattr("user.empty")
				assert.NilError(t, err)
				assert.Equal(t, len(value), 0)
				names, err = f.ListXattrs()
				assert.NilError(t, err)
				assert.DeepEqual(t, names, []string{"user.a", "user.empty"}, sorted)
				assert.NilError(t, f.RemoveXattr("user.a"))

				refused(t, f.SetXattr("user.big", make([]byte, maxXattr+1), 0), unix.E2BIG)
				refused(t, f.SetXattr("user.a", nil, 4), unix.EINVAL)
				refused(t, f.SetXattr("user.a", nil, -1), unix.EINVAL)
				refused(t, f.SetXattr("user.a\x00b", nil, 0), unix.EINVAL)
				refused(t, f.SetXattr("user."+strings.Repeat("x", 251), nil, 0), unix.EOPNOTSUPP)
				for _, name := range []string{
					"", "user", "users.x", "trusted.overlay.redirect", "trusted.x", "security.selinux", "security.ima",
					"security.capability.x", "system.nfs4_acl", "system.x", "os2.x", "USER.x",
				} {
					refused(t, f.SetXattr(name, nil, 0), unix.EOPNOTSUPP, name)
					refused(t, f.RemoveXattr(name), unix.EOPNOTSUPP, name)
					_, err := f.GetXattr(name)
					refused(t, err, unix.EOPNOTSUPP, name)
				}
			}

			if os.Geteuid() != 0 {
				return
			}
			// What the host keeps there for itself is not in the list either.
			f := s.get("file")
			assert.NilError(t, unix.Setxattr(s.host("file"), "trusted.x", []byte("y"), 0))
			capability := []byte{0, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
			assert.NilError(t, unix.Setxattr(s.host("file"), "security.capability", capability, 0))
			names, err := f.ListXattrs()
			assert.NilError(t, err)
			assert.DeepEqual(t, names, []string{"security.capability", "user.empty"}, sorted)
			value, err := f.GetXattr("security.capability")
			assert.NilError(t, err)
			assert.DeepEqual(t, value, capability)
			assert.NilError(t, f.RemoveXattr("security.capability"))
			err = f.SetXattr("security.capability", capability, 0)
			acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255}
			acl2 := f.SetXattr("system.posix_acl_access", acl, 0)
			if name == "as it is" {
				assert.NilError(t, err)
				assert.Check(t, acl2 == nil || acl2 == unix.EOPNOTSUPP, acl2)
			} else {
				refused(t, err, unix.EOPNOTSUPP)
				refused(t, acl2, unix.EOPNOTSUPP)
			}
		})
	}
}

// Locks are of ranges, between processes, and never wait.
func TestDirLock(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		s.put("file", "")
		a, b := s.open(p9.ReadWrite, "file"), s.open(p9.ReadWrite, "file")
		pids := map[*dirFile]int{a: 77, b: 78}
		const rd, wr, un = p9.ReadLock, p9.WriteLock, p9.Unlock
		const ok, busy = p9.LockStatusOK, p9.LockStatusBlocked
		for i, tc := range []struct {
			f             *dirFile
			kind          p9.LockType
			start, length uint64
			want          p9.LockStatus
		}{
			{a, rd, 0, 10, ok},
			{b, rd, 5, 10, ok},
			{a, wr, 0, 6, busy},
			{a, wr, 0, 5, ok},
			{b, rd, 4, 1, busy},
			{b, rd, 0, 0, busy},
			{b, rd, 5, 0, ok},
			{a, un, 0, 5, ok},
			{b, wr, 0, 5, ok},
			{b, un, 0, 0, ok},
			{a, wr, 1 << 40, 0, ok},
			{b, wr, 1 << 50, 1, busy},
			{b, wr, math.MaxInt64, 1, busy},
			{b, wr, 1<<40 - 1, 1, ok},
			{a, wr, 1 << 40, math.MaxUint64, ok}, // beyond the last byte is to the end
			{b, rd, math.MaxInt64 - 1, math.MaxInt64, busy},
		} {
			for _, flags := range []p9.LockFlags{p9.LockFlagsBlock, 0} {
				got, err := tc.f.Lock(pids[tc.f], tc.kind, flags, tc.start, tc.length, "client")
				assert.NilError(t, err)
				assert.Equal(t, got, tc.want, "%d", i)
			}
		}
		for _, tc := range []struct {
			f     *dirFile
			kind  p9.LockType
			start uint64
			want  unix.Errno
		}{
			{a, 3, 0, unix.EINVAL},
			{a, 255, 0, unix.EINVAL},
			{a, wr, 1 << 63, unix.EINVAL},
			{s.open(p9.ReadOnly, "file"), wr, 1 << 20, unix.EBADF},
			{s.get("file"), rd, 1 << 20, unix.EBADF},
		} {
			got, err := tc.f.Lock(77, tc.kind, 0, tc.start, 1, "")
			refused(t, err, tc.want)
			assert.Equal(t, got, p9.LockStatusError)
		}

		_, err := a.Lock(77, rd, 0, 0, 0, strings.Repeat("n", 256))
		refused(t, err, unix.EINVAL)

		l, err := b.GetLock(Lock{Type: rd, Start: 1 << 41, Length: 7, PID: 5, Client: "me"})
		assert.NilError(t, err)
		assert.Equal(t, l, Lock{Type: wr, Start: 1 << 40})
		l, err = b.GetLock(Lock{Type: rd, Start: 0, Length: 7, PID: 5, Client: "me"})
		assert.NilError(t, err)
		assert.Equal(t, l, Lock{Type: un, Start: 0, Length: 7, PID: 5, Client: "me"})
		_, err = b.Lock(78, rd, 0, 3, 1, "client")
		assert.NilError(t, err)
		l, err = b.GetLock(Lock{Type: wr, Length: 3, PID: 78, Client: "client"}) // it is one's own
		assert.NilError(t, err)
		assert.Equal(t, l, Lock{Type: un, Length: 3, PID: 78, Client: "client"})
		l, err = a.GetLock(Lock{Type: wr, PID: 77, Client: "client"})
		assert.NilError(t, err)
		assert.Equal(t, l, Lock{Type: rd, Start: 3, Length: 1})
		l, err = a.GetLock(Lock{Type: un, PID: 77, Client: "client"}) // as Linux asks
		assert.NilError(t, err)
		assert.Equal(t, l, Lock{Type: rd, Start: 3, Length: 1})
		for _, l := range []Lock{{Type: 9}, {Type: rd, Start: 1 << 63}} {
			_, err := a.GetLock(l)
			refused(t, err, unix.EINVAL, l)
		}
		_, err = s.get("file").GetLock(Lock{Type: rd})
		refused(t, err, unix.EBADF)

		assert.NilError(t, a.Close()) // and with it its locks
		got, err := b.Lock(78, wr, 0, 0, 0, "client")
		assert.NilError(t, err)
		assert.Equal(t, got, ok)

		// The host's own programs see them.
		host, err := os.OpenFile(s.host("file"), os.O_RDWR, 0)
		assert.NilError(t, err)
		defer host.Close()
		err = unix.FcntlFlock(host.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 9, Len: 1})
		assert.Assert(t, is(err, unix.EAGAIN, unix.EACCES))
	})
}

// Every entry comes once, whatever room there is for them at a time, in batches that start
// where the last one ended; also while others read, with and without one's own file.
func TestDirReaddir(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		want := []string{".", ".."}
		for i := range 300 {
			name := fmt.Sprintf("%s%d", strings.Repeat("n", i%200), i)
			s.put(name, "")
			want = append(want, name)
		}
		d := s.open(p9.ReadOnly)
		for _, count := range []uint32{300, 1000, 8192, 65536, math.MaxUint32} {
			assert.DeepEqual(t, list(t, d, count), want, sorted)
		}
		_, err := d.Readdir(0, direntSize)
		refused(t, err, unix.EINVAL, "no room for one")
		for _, off := range []uint64{1 << 63, math.MaxUint64} {
			_, err := d.Readdir(off, 4096)
			refused(t, err, unix.EINVAL, off)
		}
		_, err = s.get(want[5]).Readdir(0, 4096)
		refused(t, err, unix.ENOTDIR)
		_, err = s.get().Readdir(0, 4096)
		refused(t, err, unix.EBADF, "not open")

		var readers sync.WaitGroup
		for i := range 4 {
			d := d
			if i%2 == 0 {
				d = s.open(p9.ReadOnly)
			}
			readers.Go(func() {
				for range 20 {
					var names []string
					for off := uint64(0); ; {
						l, err := d.Readdir(off, 3000)
						if err != nil {
							t.Error(err)
							return
						}
						if len(l) == 0 {
							break
						}
						for _, e := range l {
							names = append(names, e.Name)
						}
						off = l[len(l)-1].Offset
					}
					if slices.Sort(names); !slices.Equal(names, slices.Sorted(slices.Values(want))) {
						t.Errorf("%d names", len(names))
					}
				}
			})
		}
		readers.Wait()

		s.put("later", "") // a directory that is read again from the beginning is read anew
		assert.Assert(t, slices.Contains(list(t, d, 4096), "later"))
	})
}

// An entry says of a file what the file does, and the root's parent is not outside.
func TestP9_08_DirEntries(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		s.put("file", "")
		assert.NilError(t, os.MkdirAll(s.host("dir/sub"), 0o755))
		assert.NilError(t, os.Symlink("x", s.host("link")))
		assert.NilError(t, unix.Mkfifo(s.host("fifo"), 0o600))
		types := map[string]p9.QIDType{"file": unix.DT_REG, "dir": unix.DT_DIR, "link": unix.DT_LNK, "fifo": unix.DT_FIFO}
		root, _, _, err := s.root.GetAttr(p9.AttrMaskAll)
		assert.NilError(t, err)
		l, err := s.open(p9.ReadOnly).Readdir(0, 1<<16)
		assert.NilError(t, err)
		assert.Equal(t, len(l), 6)
		for _, e := range l {
			want, typ := root, p9.QIDType(unix.DT_DIR)
			if e.Name[0] != '.' {
				want, _, _, err = s.get(e.Name).GetAttr(p9.AttrMaskAll)
				assert.NilError(t, err)
				typ = types[e.Name]
			}
			assert.Equal(t, e.QID.Path, want.Path, e.Name)
			assert.Equal(t, e.QID.Type, want.Type, e.Name)
			assert.Equal(t, e.Type, typ, e.Name)
		}
		l, err = s.open(p9.ReadOnly, "dir", "sub").Readdir(0, 1<<16)
		assert.NilError(t, err)
		for _, e := range l {
			want := map[string]uint64{".": s.stat("dir/sub").Ino, "..": s.stat("dir").Ino}
			assert.Equal(t, e.QID.Path, want[e.Name], e.Name)
		}
	})
}

// 10^5 entries that are removed while they are read: what stays is seen once, what goes at most
// once, and in the end the directory can be removed.
func TestDirHuge(t *testing.T) {
	for _, on := range []struct {
		name  string
		dir   func(*testing.T) string
		total int
	}{{"disk", scratch, 5000}, {"tmpfs", memory, 100000}} {
		t.Run(on.name, func(t *testing.T) {
			s, total := export(t, on.dir(t), DirOptions{}), on.total
			if testing.Short() {
				total = 5000
			}
			_, err := s.root.Mkdir("dir", 0o755, p9.NoUID, p9.NoGID)
			assert.NilError(t, err)
			host, err := os.Open(s.host("dir"))
			assert.NilError(t, err)
			defer host.Close()
			for i := range total {
				assert.NilError(t, unix.Mknodat(int(host.Fd()), fmt.Sprintf("file%06d", i), unix.S_IFREG, 0))
			}
			d, from := s.open(p9.ReadOnly, "dir"), s.get("dir")
			seen := make(map[string]bool, total)
			for off := uint64(0); ; {
				l, err := d.Readdir(off, 64<<10)
				assert.NilError(t, err)
				if len(l) == 0 {
					break
				}
				for _, e := range l {
					off = e.Offset
					if e.Name[0] == '.' {
						continue
					}
					assert.Assert(t, !seen[e.Name], e.Name)
					seen[e.Name] = true
					if last := e.Name[len(e.Name)-1]; last != '0' {
						assert.NilError(t, from.UnlinkAt(e.Name, 0))
					}
				}
			}
			assert.Equal(t, len(seen), total)
			left := list(t, d, 64<<10)
			assert.Equal(t, len(left), total/10+2)
			for _, name := range left {
				if name[0] != '.' {
					assert.NilError(t, from.UnlinkAt(name, 0))
				}
			}
			assert.NilError(t, s.root.UnlinkAt("dir", unix.AT_REMOVEDIR))
		})
	}
}

// A client that takes and takes gets ENFILE; the process keeps its descriptors, and what was
// given back can be had again.
func TestP9_08_DirDescriptors(t *testing.T) {
	const limit = 20
	places(t, DirOptions{MaxOpen: limit}, func(t *testing.T, s *share) {
		s.put("file", "x")
		assert.NilError(t, os.Symlink("file", s.host("link")))
		before := descriptors(t)
		for range 3 {
			var files []p9.File
			for {
				f, _, err := s.root.Step("file")
				if err != nil {
					refused(t, err, unix.ENFILE)
					break
				}
				files = append(files, f)
				_, _, err = f.Open(p9.ReadOnly)
				if err != nil {
					refused(t, err, unix.ENFILE)
					break
				}
			}
			assert.Equal(t, s.x.open.Load(), int64(limit))
			assert.Equal(t, descriptors(t), before+limit-1)
			_, err := s.x.Attach()
			refused(t, err, unix.ENFILE)
			_, _, err = s.root.Walk(nil)
			refused(t, err, unix.ENFILE)
			_, _, _, err = s.root.Create("new", p9.ReadWrite, 0o644, p9.NoUID, p9.NoGID)
			refused(t, err, unix.ENFILE)
			_, err = os.Lstat(s.host("new"))
			assert.Assert(t, errors.Is(err, os.ErrNotExist), "it was made all the same")
			for _, f := range files[:limit/2] {
				assert.NilError(t, f.Close())
			}
			for _, f := range files[limit/2:] {
				assert.NilError(t, f.Close())
			}
			assert.Equal(t, descriptors(t), before)
		}
		// Calls that fail keep nothing either, which is checked when the export is closed.
		file := s.get("file")
		for _, do := range entryCalls {
			for _, name := range []string{"file", "nothing", "..", "link"} {
				do(s.root, name)
				do(file, name)
			}
		}
		assert.Equal(t, s.x.open.Load(), int64(2))
	})
}
