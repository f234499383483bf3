package p9

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

// entryCalls are all calls that take the name of an entry.
var entryCalls = map[string]func(d *dirFile, name string) error{
	"Step": func(d *dirFile, name string) error { return closed(d.Step(name)) },
	"Walk": func(d *dirFile, name string) error {
		_, f, err := d.Walk([]string{name})
		return closed(f, p9.QID{}, err)
	},
	"WalkGetAttr": func(d *dirFile, name string) error {
		_, f, _, _, err := d.WalkGetAttr([]string{name})
		return closed(f, p9.QID{}, err)
	},
	"Create": func(d *dirFile, name string) error {
		f, _, _, err := d.Create(name, p9.ReadWrite|wireTrunc, 0o666, 0, 0)
		return closed(f, p9.QID{}, err)
	},
	"Mkdir":     func(d *dirFile, name string) error { _, err := d.Mkdir(name, 0o777, 0, 0); return err },
	"Symlink":   func(d *dirFile, name string) error { _, err := d.Symlink("/", name, 0, 0); return err },
	"Mknod":     func(d *dirFile, name string) error { _, err := d.Mknod(name, 0o10666, 0, 0, 0, 0); return err },
	"Mknod reg": func(d *dirFile, name string) error { _, err := d.Mknod(name, 0o100666, 0, 0, 0, 0); return err },
	"Link": func(d *dirFile, name string) error {
		f, _, err := d.Step("file")
		if err != nil {
			return err
		}
		defer f.Close()
		return d.Link(f, name)
	},
	"UnlinkAt":     func(d *dirFile, name string) error { return d.UnlinkAt(name, 0) },
	"UnlinkAt dir": func(d *dirFile, name string) error { return d.UnlinkAt(name, unix.AT_REMOVEDIR) },
	"RenameAt":     func(d *dirFile, name string) error { return d.RenameAt(name, d, "renamed") },
	"RenameAt to":  func(d *dirFile, name string) error { return d.RenameAt("file", d, name) },
}

// closed closes what a call returned, if it returned something.
func closed(f p9.File, _ p9.QID, err error) error {
	if err == nil {
		f.Close()
	}
	return err
}

// world is a folder with an export in it and something beside that must stay as it is.
func world(t *testing.T, dir string, o DirOptions) *share {
	t.Helper()
	outside := filepath.Join(dir, "outside")
	assert.NilError(t, os.Mkdir(outside, 0o755))
	assert.NilError(t, os.WriteFile(filepath.Join(outside, "file"), []byte("secret"), 0o644))
	assert.NilError(t, os.Mkdir(filepath.Join(outside, "dir"), 0o755))
	before := snapshot(t, outside)
	t.Cleanup(func() {
		if diff := cmp.Diff(before, snapshot(t, outside)); diff != "" {
			t.Errorf("outside of the export: (-before +after)\n%s", diff)
		}
	})
	return export(t, dir, o)
}

// snapshot is all of a tree that a guest could change.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		b := make([]byte, 1<<16)
		n, _ := unix.Llistxattr(path, b)
		what := fmt.Sprintf("%o %d:%d %d links, %d bytes, %v %v %q", st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Mtim, st.Ctim, b[:max(n, 0)])
		if d.Type().IsRegular() {
			contents, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += fmt.Sprintf(" %q", contents)
		}
		found[path] = what
		return nil
	})
	assert.NilError(t, err)
	return found
}

// A name that could mean anything but an entry is refused by all calls, without a look at the
// disk.
func TestP9_08_DirNames(t *testing.T) {
	for _, tc := range []struct {
		name string
		want unix.Errno
	}{
		{"", unix.ENOENT},
		{".", unix.EINVAL},
		{"..", unix.EINVAL},
		{"/", unix.EINVAL},
		{"/etc", unix.EINVAL},
		{"../outside", unix.EINVAL},
		{"dir/file", unix.EINVAL},
		{"dir/..", unix.EINVAL},
		{"file/", unix.EINVAL},
		{"file\x00", unix.EINVAL},
		{"\x00", unix.EINVAL},
		{strings.Repeat("x", 256), unix.ENAMETOOLONG},
		{strings.Repeat("x", 70000), unix.ENAMETOOLONG},
	} {
		s := world(t, scratch(t), DirOptions{})
		s.put("file", "")
		before := snapshot(t, s.path)
		for call, f := range entryCalls {
			refused(t, f(s.root, tc.name), tc.want, call, " ", tc.name[:min(len(tc.name), 20)])
		}
		assert.DeepEqual(t, before, snapshot(t, s.path))
	}
}

// 255 bytes are a name, whatever they are, and dots are no special ones.
func TestDirNamesThatAre(t *testing.T) {
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		for _, name := range []string{strings.Repeat("x", 255), "...", ".x", "..x", "\xff\xfe", " ", "a\\b", "-"} {
			s.create(name, p9.ReadWrite, 0o600)
			s.get(name)
			assert.NilError(t, s.root.UnlinkAt(name, 0))
		}
	})
}

// A symbolic link is an object with a text and an owner. Nothing that is done to it is done to
// what it says.
func TestP9_08_DirSymlink(t *testing.T) {
	for _, to := range []string{"../outside/file", "/proc/self/root", "/dev/null", "file", "/"} {
		for _, dir := range []func(*testing.T) string{scratch, memory} {
			s := world(t, dir(t), DirOptions{})
			s.put("file", "inside")
			assert.NilError(t, os.Symlink(to, s.host("link")))
			assert.NilError(t, os.Symlink(s.path+"/../outside/file", s.host("abs")))
			inside := s.stat("file")
			for _, name := range []string{"link", "abs"} {
				f := s.get(name)
				q, _, a, err := f.GetAttr(p9.AttrMaskAll)
				assert.NilError(t, err)
				assert.Equal(t, q.Type, p9.TypeSymlink)
				assert.Assert(t, a.Mode.IsSymlink())
				text, err := f.Readlink()
				assert.NilError(t, err)
				if name == "link" {
					assert.Equal(t, text, to)
				}

				for _, flags := range []p9.OpenFlags{p9.ReadOnly, p9.WriteOnly, p9.ReadWrite | wireTrunc, wireDirectory} {
					_, _, err := f.Open(flags)
					refused(t, err, unix.ELOOP, "Open ", flags)
				}
				refused(t, f.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 3}), unix.EINVAL, "truncate")
				refused(t, f.SetAttr(p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: 0o777}), unix.EOPNOTSUPP, "chmod")
				assert.NilError(t, f.SetAttr(p9.SetAttrMask{MTime: true, MTimeNotSystemTime: true}, p9.SetAttr{MTimeSeconds: 77}))
				assert.Equal(t, s.stat(name).Mtim.Sec, int64(77))
				refused(t, f.SetXattr("user.x", []byte("y"), 0), unix.EPERM, "setxattr") // as Linux says
				_, _, err = f.Walk([]string{"file"})
				refused(t, err, unix.ENOTDIR, "through the link")
				for call, do := range entryCalls {
					assert.Check(t, is(do(f, "file"), unix.ENOTDIR, unix.EINVAL), call)
				}

				_, _, _, err = s.root.Create(name, p9.ReadWrite|wireTrunc, 0o666, 0, 0)
				refused(t, err, unix.ELOOP, "create over the link")
				_, _, _, err = s.root.Create(name, p9.ReadWrite|wireExcl, 0o666, 0, 0)
				refused(t, err, unix.EEXIST, "create exclusively over the link")
				_, err = s.root.Mkdir(name, 0o777, 0, 0)
				refused(t, err, unix.EEXIST, "mkdir over the link")

				assert.NilError(t, s.root.Link(f, "hard "+name))
				text2, err := os.Readlink(s.host("hard " + name))
				assert.NilError(t, err)
				assert.Equal(t, text2, text)
				assert.NilError(t, s.root.UnlinkAt("hard "+name, 0))
				assert.NilError(t, s.root.UnlinkAt(name, 0))
			}
			assert.DeepEqual(t, inside, s.stat("file"))
			s.has("file", "inside")
		}
	}
}

// The owner of a link is the link's.
func TestP9_08_DirSymlinkOwner(t *testing.T) {
	asRoot(t)
	s := world(t, scratch(t), DirOptions{})
	assert.NilError(t, os.Symlink("../outside/file", s.host("link")))
	assert.NilError(t, s.get("link").SetAttr(p9.SetAttrMask{UID: true, GID: true}, p9.SetAttr{UID: 12, GID: 34}))
	st := s.stat("link")
	assert.Equal(t, st.Uid, uint32(12))
	assert.Equal(t, st.Gid, uint32(34))
}

// While somebody swaps a directory, and a file, for links that lead outside, whatever is done
// by their names is done inside, or not at all.
func TestP9_08_DirRenameRace(t *testing.T) {
	races := func(t *testing.T, s *share) {
		s.put("file", "inside")
		assert.NilError(t, os.Mkdir(s.host("dir"), 0o755))
		assert.NilError(t, os.WriteFile(s.host("dir/file"), []byte("inside"), 0o644))
		assert.NilError(t, os.Symlink("../outside", s.host("link to dir")))
		assert.NilError(t, os.Symlink("../outside/file", s.host("link to file")))
		stop := make(chan struct{})
		var swapper sync.WaitGroup
		swapper.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, pair := range [][2]string{{"dir", "link to dir"}, {"file", "link to file"}} {
					if err := unix.Renameat2(unix.AT_FDCWD, s.host(pair[0]), unix.AT_FDCWD, s.host(pair[1]), unix.RENAME_EXCHANGE); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
		links := 0
		look := func(f p9.File, err error) {
			if err != nil {
				if is(err, unix.ELOOP) {
					links++
				}
				return
			}
			if _, _, err := f.Open(p9.ReadWrite); err == nil {
				if got := contents(t, f); strings.Contains(got, "secret") {
					t.Fatalf("read %q", got)
				}
				f.WriteAt([]byte("inside"), 0)
			} else if err == unix.ELOOP {
				links++
			}
			f.SetAttr(p9.SetAttrMask{Permissions: true, Size: true, MTime: true}, p9.SetAttr{Permissions: 0o644, Size: 6})
			f.SetXattr("user.x", []byte("y"), 0)
			f.Close()
		}
		rounds := 3000
		if testing.Short() {
			rounds = 500
		}
		for range rounds {
			_, f, err := s.root.Walk([]string{"file"})
			look(f, err)
			_, f, err = s.root.Walk([]string{"dir", "file"})
			look(f, err)
			f, _, _, err = s.root.Create("file", p9.ReadWrite, 0o644, p9.NoUID, p9.NoGID)
			look(f, err)
			if d, _, err := s.root.Step("dir"); err == nil {
				f, _, _, err := d.Create("file", p9.ReadWrite, 0o644, p9.NoUID, p9.NoGID)
				look(f, err)
				if _, err := d.Mkdir("new", 0o755, p9.NoUID, p9.NoGID); err == nil {
					d.UnlinkAt("new", unix.AT_REMOVEDIR)
				}
				if _, err := d.Symlink("x", "new", p9.NoUID, p9.NoGID); err == nil {
					d.RenameAt("new", s.root, "moved")
				}
				d.Close()
			}
		}
		close(stop)
		swapper.Wait()
		if links == 0 {
			t.Log("the race was never met")
		}
	}
	t.Run("disk", func(t *testing.T) { races(t, world(t, scratch(t), DirOptions{})) })
	t.Run("tmpfs", func(t *testing.T) { races(t, world(t, memory(t), DirOptions{})) })
	t.Run("old kernel", func(t *testing.T) {
		s := world(t, memory(t), DirOptions{})
		s.withoutOpenat2()
		races(t, s)
	})
}

// The links in /proc lead to files that their text does not even name. An export of a process's
// folder there shows links.
func TestP9_08_DirMagicLinks(t *testing.T) {
	x, err := Dir("/proc/self", DirOptions{})
	assert.NilError(t, err)
	defer x.Close()
	root, err := x.Attach()
	assert.NilError(t, err)
	defer root.Close()
	for _, names := range [][]string{{"root"}, {"cwd"}, {"exe"}, {"fd", "0"}} {
		_, f, err := root.Walk(names)
		assert.NilError(t, err)
		_, _, err = f.Open(p9.ReadOnly)
		refused(t, err, unix.ELOOP, names)
		_, _, err = f.Walk([]string{"etc"})
		refused(t, err, unix.ENOTDIR, names)
		assert.NilError(t, f.Close())
	}
}

// Opening a FIFO waits, opening a device does things: neither happens. They can be looked at,
// renamed, linked, given away and removed.
func TestP9_08_DirSpecialFiles(t *testing.T) {
	umask(t, 0)
	watchdog := time.AfterFunc(time.Minute, func() { panic("something blocks") })
	defer watchdog.Stop()
	places(t, DirOptions{}, func(t *testing.T, s *share) {
		nodes := map[string]uint32{"fifo": unix.S_IFIFO, "socket": unix.S_IFSOCK}
		for name, kind := range nodes {
			_, err := s.root.Mknod(name, p9.FileMode(kind|0o666), 0, 0, p9.NoUID, p9.NoGID)
			assert.NilError(t, err)
		}
		if unix.Mknod(s.host("null"), unix.S_IFCHR|0o666, 1<<8|3) == nil {
			nodes["null"] = unix.S_IFCHR
		}
		if unix.Mknod(s.host("disk"), unix.S_IFBLK|0o666, 7<<8) == nil {
			nodes["disk"] = unix.S_IFBLK
		}
		for name, kind := range nodes {
			f := s.get(name)
			q, _, a, err := f.GetAttr(p9.AttrMaskAll)
			assert.NilError(t, err)
			assert.Equal(t, uint32(a.Mode), kind|0o666)
			assert.Equal(t, q.Type, p9.TypeRegular)
			for _, flags := range []p9.OpenFlags{p9.ReadOnly, p9.WriteOnly, p9.ReadWrite, p9.ReadWrite | wireTrunc} {
				_, _, err := f.Open(flags)
				refused(t, err, unix.ENXIO, name, flags)
				_, _, _, err = s.root.Create(name, flags, 0o666, p9.NoUID, p9.NoGID)
				refused(t, err, unix.ENXIO, "create ", name, flags)
			}
			refused(t, f.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{}), unix.EINVAL, name)
			_, err = f.ReadAt(make([]byte, 1), 0)
			refused(t, err, unix.EBADF, name)
			assert.NilError(t, f.SetAttr(p9.SetAttrMask{Permissions: true, MTime: true, MTimeNotSystemTime: true},
				p9.SetAttr{Permissions: 0o600, MTimeSeconds: 5}))
			st := s.stat(name)
			assert.Equal(t, st.Mode, kind|0o600)
			assert.Equal(t, st.Mtim.Sec, int64(5))
			assert.NilError(t, s.root.Link(f, "other"))
			assert.NilError(t, s.root.RenameAt("other", s.root, "third"))
			assert.NilError(t, s.root.UnlinkAt("third", 0))
		}
		for _, kind := range []p9.FileMode{p9.ModeBlockDevice, p9.ModeCharacterDevice, p9.ModeDirectory} {
			_, err := s.root.Mknod("device", kind|0o666, 1, 3, 0, 0)
			refused(t, err, unix.EPERM, kind)
		}
		_, err := s.root.Mknod("device", p9.ModeSymlink|0o666, 1, 3, 0, 0)
		refused(t, err, unix.EINVAL, "symlink")
		_, err = s.root.Mknod("device", 0o170666, 1, 3, 0, 0)
		refused(t, err, unix.EINVAL, "no kind")
		_, err = os.Lstat(s.host("device"))
		assert.Assert(t, os.IsNotExist(err))
	})
}

// readOnlyCalls are all that changes something, with what must be there for it.
func mutations(s *share) map[string]func() error {
	file, dir, opened := s.get("file"), s.get("dir"), s.open(p9.ReadOnly, "file")
	set := func(v p9.SetAttrMask) func() error {
		return func() error { return file.SetAttr(v, p9.SetAttr{Permissions: 0o777, Size: 1}) }
	}
	open := func(f *dirFile, flags p9.OpenFlags) func() error {
		return func() error { _, _, err := f.Open(flags); return err }
	}
	m := map[string]func() error{
		"open to write":          open(file, p9.WriteOnly),
		"open to read and write": open(file, p9.ReadWrite),
		"open to truncate":       open(file, p9.ReadOnly|wireTrunc),
		"open all":               open(file, p9.ReadWrite|wireTrunc|wireAppend|wireSync),
		"chmod":                  set(p9.SetAttrMask{Permissions: true}),
		"chown":                  set(p9.SetAttrMask{UID: true, GID: true}),
		"truncate":               set(p9.SetAttrMask{Size: true}),
		"utimes":                 set(p9.SetAttrMask{ATime: true, MTime: true}),
		"ctime":                  set(p9.SetAttrMask{CTime: true}),
		"nothing":                set(p9.SetAttrMask{}),
		"truncate an open file":  func() error { return opened.SetAttr(p9.SetAttrMask{Size: true}, p9.SetAttr{}) },
		"setxattr":               func() error { return file.SetXattr("user.x", nil, 0) },
		"removexattr":            func() error { return file.RemoveXattr("user.old") },
		"create":                 func() error { return entryCalls["Create"](dir, "new") },
		"create what is there":   func() error { return entryCalls["Create"](s.root, "file") },
		"device":                 func() error { _, err := dir.Mknod("new", p9.ModeCharacterDevice, 1, 3, 0, 0); return err },
		"rename over":            func() error { return s.root.RenameAt("file", dir, "file") },
		"rename a directory":     func() error { return s.root.RenameAt("dir", s.root, "other") },
		"remove":                 func() error { return s.root.UnlinkAt("file", 0) },
		"remove a directory":     func() error { return s.root.UnlinkAt("dir", unix.AT_REMOVEDIR) },
	}
	for call, do := range entryCalls {
		if call != "Step" && !strings.HasPrefix(call, "Walk") && call != "Link" {
			m[call+" new"] = func() error { return do(dir, "new") }
		}
	}
	m["link"] = func() error { return dir.Link(file, "new") }
	return m
}

// Nothing of a read-only export changes, not even by opening.
func TestP9_08_DirReadOnly(t *testing.T) {
	places(t, DirOptions{ReadOnly: true}, func(t *testing.T, s *share) {
		s.put("file", "contents")
		assert.NilError(t, os.Mkdir(s.host("dir"), 0o777))
		before := snapshot(t, s.path)
		for call, f := range mutations(s) {
			refused(t, f(), unix.EROFS, call)
		}
		assert.DeepEqual(t, before, snapshot(t, s.path))
		f := s.open(p9.ReadOnly|wireAppend, "file")
		assert.Equal(t, contents(t, f), "contents")
		_, err := f.WriteAt([]byte("x"), 0)
		refused(t, err, unix.EBADF, "write")
		_, err = f.WriteVecAt([][]byte{[]byte("x")}, 0)
		refused(t, err, unix.EBADF, "write")
		assert.DeepEqual(t, list(t, s.open(p9.ReadOnly, "dir"), 4096), []string{".", ".."}, sorted)
	})
}

// The export is one mount: what is mounted below, even a part of itself, is somewhere else.
func TestP9_08_DirMount(t *testing.T) {
	asRoot(t)
	for _, old := range []bool{false, true} {
		t.Run(fmt.Sprintf("old kernel %v", old), func(t *testing.T) {
			s := world(t, memory(t), DirOptions{})
			if old {
				s.withoutOpenat2()
			}
			for _, dir := range []string{"tmpfs", "bind", "itself", "inside"} {
				assert.NilError(t, os.Mkdir(s.host(dir), 0o755))
			}
			s.put("inside/file", "")
			s.put("bound file", "")
			for target, source := range map[string]string{"tmpfs": "", "bind": s.path + "/../outside", "itself": s.host("inside"), "bound file": s.host("inside/file")} {
				kind, flags := "", uintptr(unix.MS_BIND)
				if source == "" {
					kind, flags = "tmpfs", 0
				}
				if err := unix.Mount(source, s.host(target), kind, flags, ""); err != nil {
					t.Skip("mount(2) is not for this process:", err)
				}
				t.Cleanup(func() { unix.Unmount(s.host(target), unix.MNT_DETACH) })
			}
			for _, dir := range []string{"tmpfs", "bind", "itself", "bound file"} {
				_, _, err := s.root.Step(dir)
				refused(t, err, unix.EXDEV, dir)
				assert.Check(t, is(s.root.UnlinkAt(dir, unix.AT_REMOVEDIR), unix.EBUSY, unix.ENOTDIR), dir)
				_, _, _, err = s.root.Create(dir, p9.ReadWrite, 0o666, 0, 0)
				refused(t, err, unix.EXDEV, dir)
			}
			s.get("inside", "file")
		})
	}
}
