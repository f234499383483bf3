package p9

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hugelgupf/p9/fsimpl/templatefs"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// memFS is a file system of the tests. It counts what it is asked, keeps to the rules of
// p9.File, and checks that the engine does.
type memFS struct {
	mu    sync.Mutex
	root  *inode
	next  uint64
	live  int // Files handed out and not closed
	most  int
	calls []string // Renamed

	concurrent bool
	vectors    bool
	mixed      bool // files are Concurrent, and directories are not, or the other way round
	contrary   bool

	hold func(f *memFile, call string) // called within a method, without the lock
}

type inode struct {
	mode     p9.FileMode
	path     uint64
	data     []byte
	children map[string]*inode
	xattrs   map[string][]byte
	uid      p9.UID
	gid      p9.GID
	links    int
}

func newMemFS() *memFS {
	m := &memFS{}
	m.root = m.inode(p9.ModeDirectory | 0755)
	return m
}

func (m *memFS) inode(mode p9.FileMode) *inode {
	m.next++
	return &inode{mode: mode, path: m.next, links: 1, children: make(map[string]*inode), xattrs: make(map[string][]byte)}
}

func (n *inode) qid() p9.QID { return p9.QID{Type: n.mode.QIDType(), Path: n.path} }

// put makes a file, and the directories above it.
func (m *memFS) put(path, data string) *inode {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.root
	names := strings.Split(path, "/")
	for _, name := range names[:len(names)-1] {
		if at.children[name] == nil {
			at.children[name] = m.inode(p9.ModeDirectory | 0755)
		}
		at = at.children[name]
	}
	n := m.inode(p9.ModeRegular | 0644)
	n.data = []byte(data)
	at.children[names[len(names)-1]] = n
	return n
}

// data is what a file holds.
func (m *memFS) data(n *inode) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(n.data)
}

func (m *memFS) Attach() (p9.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.file(m.root, "", nil), nil
}

// memFile is a File.
type memFile struct {
	templatefs.NotImplementedFile
	p9.DefaultWalkGetAttr
	fs     *memFS
	n      *inode
	name   string
	parent *memFile
	open   bool
	closed bool
}

// concurrentFile is one that needs no locks.
type concurrentFile struct{ *memFile }

func (concurrentFile) Concurrent() {}

// vectorFile is one for straight I/O.
type vectorFile struct{ concurrentFile }

func (f vectorFile) ReadVecAt(v [][]byte, off int64) (n int, err error) {
	for _, b := range v {
		k, err := f.ReadAt(b, off+int64(n))
		if n += k; err != nil || k < len(b) {
			return n, nil
		}
	}
	return n, nil
}

func (f vectorFile) WriteVecAt(v [][]byte, off int64) (int, error) {
	return f.WriteAt(bytes.Join(v, nil), off)
}

// below is the memFile behind whatever the fid has.
func below(f p9.File) *memFile {
	switch f := f.(type) {
	case *memFile:
		return f
	case concurrentFile:
		return f.memFile
	case vectorFile:
		return f.memFile
	}
	panic(f)
}

func (m *memFS) file(n *inode, name string, parent *memFile) p9.File {
	m.live++
	m.most = max(m.most, m.live)
	f := &memFile{fs: m, n: n, name: name, parent: parent}
	switch {
	case m.vectors:
		return vectorFile{concurrentFile{f}}
	case m.concurrent, m.mixed && n.mode.IsRegular() != m.contrary:
		return concurrentFile{f}
	}
	return f
}

// in locks the file system for a method of f.
func (f *memFile) in(call string) func() {
	if f.fs.hold != nil {
		f.fs.hold(f, call)
	}
	f.fs.mu.Lock()
	if f.closed {
		panic("use after Close: " + call)
	}
	return f.fs.mu.Unlock
}

func (f *memFile) Walk(names []string) ([]p9.QID, p9.File, error) {
	defer f.in("Walk")()
	at, name, parent := f.n, f.name, f.parent
	var qids []p9.QID
	for _, s := range names {
		next := at.children[s]
		if next == nil {
			return nil, nil, linux.ENOENT
		}
		at, name, parent = next, s, f
		qids = append(qids, at.qid())
	}
	return qids, f.fs.file(at, name, parent), nil
}

func (f *memFile) GetAttr(req p9.AttrMask) (p9.QID, p9.AttrMask, p9.Attr, error) {
	defer f.in("GetAttr")()
	n := f.n
	return n.qid(), req, p9.Attr{Mode: n.mode, UID: n.uid, GID: n.gid, Size: uint64(len(n.data)), NLink: p9.NLink(n.links), BlockSize: 4096}, nil
}

func (f *memFile) SetAttr(valid p9.SetAttrMask, attr p9.SetAttr) error {
	defer f.in("SetAttr")()
	if valid.Permissions {
		f.n.mode = f.n.mode&^07777 | attr.Permissions
	}
	if valid.UID {
		f.n.uid = attr.UID
	}
	if valid.Size {
		f.n.data = append(f.n.data, make([]byte, max(0, int(attr.Size)-len(f.n.data)))...)[:attr.Size]
	}
	return nil
}

func (f *memFile) Close() error {
	defer f.in("Close")()
	f.closed = true
	f.fs.live--
	return nil
}

func (f *memFile) Open(p9.OpenFlags) (p9.QID, uint32, error) {
	defer f.in("Open")()
	if f.open {
		panic("opened twice")
	}
	f.open = true
	return f.n.qid(), 0, nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	defer f.in("ReadAt")()
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	return copy(p, f.n.data[off:]), nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	defer f.in("WriteAt")()
	if end := int(off) + len(p); end > len(f.n.data) {
		f.n.data = append(f.n.data, make([]byte, end-len(f.n.data))...)
	}
	return copy(f.n.data[off:], p), nil
}

func (f *memFile) StatFS() (p9.FSStat, error) {
	return p9.FSStat{Type: 0x01021997, BlockSize: 4096, Blocks: 10, NameLength: 255}, nil
}

func (f *memFile) FSync() error { defer f.in("FSync")(); return nil }

func (f *memFile) make(name string, mode p9.FileMode, uid p9.UID, gid p9.GID) (*inode, error) {
	if f.n.children[name] != nil {
		return nil, linux.EEXIST
	}
	n := f.fs.inode(mode)
	n.uid, n.gid = uid, gid
	f.n.children[name] = n
	return n, nil
}

func (f *memFile) Create(name string, _ p9.OpenFlags, perm p9.FileMode, uid p9.UID, gid p9.GID) (p9.File, p9.QID, uint32, error) {
	defer f.in("Create")()
	n, err := f.make(name, p9.ModeRegular|perm, uid, gid)
	if err != nil {
		return nil, p9.QID{}, 0, err
	}
	file := f.fs.file(n, name, f)
	below(file).open = true
	return file, n.qid(), 0, nil
}

func (f *memFile) Mkdir(name string, perm p9.FileMode, uid p9.UID, gid p9.GID) (p9.QID, error) {
	defer f.in("Mkdir")()
	n, err := f.make(name, p9.ModeDirectory|perm, uid, gid)
	if err != nil {
		return p9.QID{}, err
	}
	return n.qid(), nil
}

func (f *memFile) Symlink(target, name string, uid p9.UID, gid p9.GID) (p9.QID, error) {
	defer f.in("Symlink")()
	n, err := f.make(name, p9.ModeSymlink|0777, uid, gid)
	if err != nil {
		return p9.QID{}, err
	}
	n.data = []byte(target)
	return n.qid(), nil
}

func (f *memFile) Readlink() (string, error) { defer f.in("Readlink")(); return string(f.n.data), nil }

func (f *memFile) Mknod(name string, mode p9.FileMode, _, _ uint32, uid p9.UID, gid p9.GID) (p9.QID, error) {
	defer f.in("Mknod")()
	n, err := f.make(name, mode, uid, gid)
	if err != nil {
		return p9.QID{}, err
	}
	return n.qid(), nil
}

func (f *memFile) Link(target p9.File, name string) error {
	defer f.in("Link")()
	if f.n.children[name] != nil {
		return linux.EEXIST
	}
	f.n.children[name] = below(target).n
	below(target).n.links++
	return nil
}

func (f *memFile) RenameAt(oldname string, dir p9.File, newname string) error {
	defer f.in("RenameAt")()
	n := f.n.children[oldname]
	if n == nil {
		return linux.ENOENT
	}
	delete(f.n.children, oldname)
	below(dir).n.children[newname] = n
	return nil
}

func (f *memFile) Renamed(dir p9.File, name string) {
	defer f.in("Renamed")()
	f.parent, f.name = below(dir), name
	f.fs.calls = append(f.fs.calls, name)
}

func (f *memFile) UnlinkAt(name string, flags uint32) error {
	defer f.in("UnlinkAt")()
	n := f.n.children[name]
	switch {
	case n == nil:
		return linux.ENOENT
	case n.mode.IsDir() != (flags&0x200 != 0):
		return linux.EISDIR
	case len(n.children) > 0:
		return linux.ENOTEMPTY
	}
	delete(f.n.children, name)
	n.links--
	return nil
}

func (f *memFile) Readdir(off uint64, count uint32) (p9.Dirents, error) {
	defer f.in("Readdir")()
	names := slices.Sorted(maps.Keys(f.n.children))
	var d p9.Dirents
	for i := off; i < uint64(len(names)) && uint32(len(d)) < count; i++ {
		n := f.n.children[names[i]]
		d = append(d, p9.Dirent{QID: n.qid(), Offset: i + 1, Type: n.qid().Type, Name: names[i]})
	}
	return d, nil
}

func (f *memFile) GetXattr(name string) ([]byte, error) {
	defer f.in("GetXattr")()
	v, ok := f.n.xattrs[name]
	if !ok {
		return nil, linux.ENODATA
	}
	return v, nil
}

func (f *memFile) ListXattrs() ([]string, error) {
	defer f.in("ListXattrs")()
	return slices.Sorted(maps.Keys(f.n.xattrs)), nil
}

func (f *memFile) SetXattr(name string, v []byte, _ p9.XattrFlags) error {
	defer f.in("SetXattr")()
	if strings.HasPrefix(name, "trusted.") {
		return linux.EPERM
	}
	f.n.xattrs[name] = v
	return nil
}

func (f *memFile) RemoveXattr(name string) error {
	defer f.in("RemoveXattr")()
	if _, ok := f.n.xattrs[name]; !ok {
		return linux.ENODATA
	}
	delete(f.n.xattrs, name)
	return nil
}

func (f *memFile) Lock(_ int, t p9.LockType, _ p9.LockFlags, _, _ uint64, _ string) (p9.LockStatus, error) {
	defer f.in("Lock")()
	return p9.LockStatusOK, nil
}

func (f *memFile) GetLock(l Lock) (Lock, error) {
	defer f.in("GetLock")()
	l.Type, l.PID, l.Client = p9.WriteLock, 77, "other"
	return l, nil
}
