package p9

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

// A share is an exported directory of a test, looked at from both sides.
type share struct {
	t    *testing.T
	path string
	x    *Export
	root *dirFile
}

// scratch is a folder of the test's own on the ordinary disk.
func scratch(t *testing.T) string {
	t.Helper()
	return t.TempDir()
}

// memory is one on tmpfs.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "p9dir")
	if err != nil {
		t.Skip("no tmpfs at /dev/shm:", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// places runs a test on an ordinary file system and on tmpfs, and there without openat2, too.
func places(t *testing.T, o DirOptions, f func(t *testing.T, s *share)) {
	t.Run("disk", func(t *testing.T) { f(t, export(t, scratch(t), o)) })
	t.Run("tmpfs", func(t *testing.T) { f(t, export(t, memory(t), o)) })
	t.Run("old kernel", func(t *testing.T) {
		s := export(t, memory(t), o)
		s.withoutOpenat2()
		f(t, s)
	})
}

// export exports a folder below path and sees to it that all descriptors are given back.
func export(t *testing.T, path string, o DirOptions) *share {
	t.Helper()
	before := descriptors(t)
	path = filepath.Join(path, "export")
	assert.NilError(t, os.Mkdir(path, 0o755))
	x, err := Dir(path, o)
	assert.NilError(t, err)
	s := &share{t: t, path: path, x: x}
	t.Cleanup(func() {
		assert.Check(t, s.root.Close())
		assert.Check(t, x.Close())
		assert.Check(t, x.open.Load() == 0, "%d descriptors in the books", x.open.Load())
		after := descriptors(t)
		assert.Check(t, after <= before, "%d descriptors before, %d after", before, after)
	})
	f, err := x.Attach()
	assert.NilError(t, err)
	s.root = f.(*dirFile)
	return s
}

func (s *share) withoutOpenat2() {
	s.t.Helper()
	mount, err := mountOf(s.x.root)
	assert.NilError(s.t, err)
	s.x.mount = mount
}

func descriptors(t *testing.T) int {
	t.Helper()
	poller() // which Go makes when it is first needed, and keeps
	list, err := os.ReadDir("/proc/self/fd")
	assert.NilError(t, err)
	return len(list)
}

var poller = sync.OnceFunc(func() {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
})

// host is a path on the host.
func (s *share) host(name string) string { return filepath.Join(s.path, name) }

// put makes a file on the host.
func (s *share) put(name, contents string) {
	s.t.Helper()
	assert.NilError(s.t, os.WriteFile(s.host(name), []byte(contents), 0o644))
}

// has checks a file on the host.
func (s *share) has(name, contents string) {
	s.t.Helper()
	b, err := os.ReadFile(s.host(name))
	assert.NilError(s.t, err)
	assert.Equal(s.t, string(b), contents)
}

func (s *share) stat(name string) unix.Stat_t {
	s.t.Helper()
	var st unix.Stat_t
	assert.NilError(s.t, unix.Lstat(s.host(name), &st))
	return st
}

// get walks to a file, which is closed with the test.
func (s *share) get(names ...string) *dirFile {
	s.t.Helper()
	_, f, err := s.root.Walk(names)
	assert.NilError(s.t, err, "%q", names)
	s.t.Cleanup(func() { f.Close() })
	return f.(*dirFile)
}

// open walks to a file and opens it.
func (s *share) open(flags p9.OpenFlags, names ...string) *dirFile {
	s.t.Helper()
	f := s.get(names...)
	_, _, err := f.Open(flags)
	assert.NilError(s.t, err, "%q", names)
	return f
}

// create makes a file and closes it with the test.
func (s *share) create(name string, flags p9.OpenFlags, perm p9.FileMode) *dirFile {
	s.t.Helper()
	f, _, _, err := s.root.Create(name, flags, perm, p9.NoUID, p9.NoGID)
	assert.NilError(s.t, err)
	s.t.Cleanup(func() { f.Close() })
	return f.(*dirFile)
}

// contents reads an open file.
func contents(t *testing.T, f p9.File) string {
	t.Helper()
	b := make([]byte, 1<<16)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return string(b[:n])
}

// list reads the directory with rooms of count bytes.
func list(t *testing.T, d *dirFile, count uint32) (names []string) {
	t.Helper()
	for off := uint64(0); ; {
		l, err := d.Readdir(off, count)
		assert.NilError(t, err)
		if len(l) == 0 {
			return names
		}
		for _, e := range l {
			names = append(names, e.Name)
		}
		off = l[len(l)-1].Offset
	}
}

// refused checks for an errno, and that it is one.
func refused(t *testing.T, err error, want unix.Errno, what ...any) {
	t.Helper()
	got, ok := err.(unix.Errno)
	if !ok || got != want {
		t.Errorf("%v: %v (%T), want %v", fmt.Sprint(what...), err, err, want)
	}
}

// asRoot skips what an ordinary user cannot do.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may do this on the host")
	}
}

// umask is set for one test; none of this package runs in parallel.
func umask(t *testing.T, mask int) {
	t.Helper()
	old := unix.Umask(mask)
	t.Cleanup(func() { unix.Umask(old) })
}

// is tells whether err is one of them.
func is(err error, any ...unix.Errno) bool {
	for _, e := range any {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
