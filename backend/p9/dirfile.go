package p9

import (
	"sync"
	"sync/atomic"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// A dirFile is a file of an Export: a descriptor that stands for it, whatever it is called by
// now, and a second one once it is opened. Its methods may run at the same time, but for Close.
type dirFile struct {
	x     *Export
	fd    int          // O_PATH, or of a new file io
	io    atomic.Int32 // open, or -1
	flags int          // io's
	kind  uint32       // S_IFMT of its mode, which never changes
	dev   uint64
	ino   uint64

	lockers *lockers     // of its attachment
	owners  []*lockOwner // that it was used by; guarded by lockers.mu

	reading sync.Mutex // io's position, if that is a directory
	at      uint64     // where it is; 0 is nowhere that is known
}

var (
	_ p9.File      = (*dirFile)(nil)
	_ Concurrent   = (*dirFile)(nil)
	_ VectorReader = (*dirFile)(nil)
	_ VectorWriter = (*dirFile)(nil)
	_ LockGetter   = (*dirFile)(nil)
	_ Stepper      = (*dirFile)(nil)
	_ DirReader    = (*dirFile)(nil)
)

// Concurrent says that no server has to keep calls apart: the host's kernel does.
func (*dirFile) Concurrent() {}

// Renamed has nothing to tell a file that does not know its name.
func (*dirFile) Renamed(p9.File, string) {}

// Rename is not for servers, says p9.File; and a file that does not know its name cannot do it.
func (*dirFile) Rename(p9.File, string) error { return unix.EOPNOTSUPP }

func (f *dirFile) Close() error {
	f.disown()
	if io := int(f.io.Swap(-1)); io >= 0 && io != f.fd {
		f.x.shut(io)
	}
	fd := f.fd
	f.fd = -1
	if fd < 0 {
		return unix.EBADF
	}
	return f.x.shut(fd)
}

// clone is another file that stands for the same, and is not open.
func (f *dirFile) clone() (*dirFile, unix.Stat_t, error) {
	if int(f.io.Load()) == f.fd { // one descriptor is both: a copy would keep the file open, and nobody could run it
		return f.x.handle(f.lockers, func() (int, error) { return unix.Open(proc(f.fd), unix.O_PATH|unix.O_CLOEXEC, 0) })
	}
	return f.x.handle(f.lockers, func() (int, error) { return dup(f.fd) })
}

// stepHow is openat's way to one entry of a directory that keeps within the mount, and if that
// is a link, to the link.
var stepHow = unix.OpenHow{
	Flags:   handleFlags,
	Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
}

// step goes to an entry.
func (f *dirFile) step(name string) (*dirFile, unix.Stat_t, error) {
	if err := entryName(name); err != nil {
		return nil, unix.Stat_t{}, err
	}
	return f.x.handle(f.lockers, func() (int, error) {
		if f.x.mount == "" {
			return unix.Openat2(f.fd, name, &stepHow)
		}
		fd, err := unix.Openat(f.fd, name, handleFlags, 0)
		if err != nil {
			return -1, err
		}
		if mount, err := mountOf(fd); err != nil || mount != f.x.mount {
			unix.Close(fd)
			return -1, unix.EXDEV
		}
		return fd, nil
	})
}

// Step implements Stepper.
func (f *dirFile) Step(name string) (p9.File, p9.QID, error) {
	n, st, err := f.step(name)
	if err != nil {
		return nil, p9.QID{}, err
	}
	return n, f.x.qid(&st), nil
}

func (f *dirFile) Walk(names []string) ([]p9.QID, p9.File, error) {
	qids, n, _, err := f.walk(names)
	if err != nil {
		return nil, nil, err
	}
	return qids, n, nil
}

func (f *dirFile) WalkGetAttr(names []string) ([]p9.QID, p9.File, p9.AttrMask, p9.Attr, error) {
	qids, n, st, err := f.walk(names)
	if err != nil {
		return nil, nil, p9.AttrMask{}, p9.Attr{}, err
	}
	return qids, n, attrMask, f.x.attr(&st), nil
}

func (f *dirFile) walk(names []string) ([]p9.QID, *dirFile, unix.Stat_t, error) {
	n, st, err := (*dirFile)(nil), unix.Stat_t{}, error(nil)
	if len(names) == 0 {
		n, st, err = f.clone()
		return nil, n, st, err
	}
	qids := make([]p9.QID, len(names))
	for i, name := range names {
		from := f
		if i > 0 {
			from = n
		}
		n, st, err = from.step(name)
		if i > 0 {
			from.Close()
		}
		if err != nil {
			return nil, nil, st, err
		}
		qids[i] = f.x.qid(&st)
	}
	return qids, n, st, nil
}

// entry checks that a directory may be changed, and at that name.
func (f *dirFile) entry(name string) error {
	if f.x.readOnly {
		return unix.EROFS
	}
	return entryName(name)
}

// sibling returns a file of the same export, which is the only kind that can be linked to or
// renamed into.
func (f *dirFile) sibling(other p9.File) (*dirFile, error) {
	if o, ok := other.(*dirFile); ok && o.x == f.x {
		return o, nil
	}
	return nil, unix.EXDEV
}

// Link gives the target one more name. A target that has none any more is ENOENT.
func (f *dirFile) Link(target p9.File, name string) error {
	if err := f.entry(name); err != nil {
		return err
	}
	t, err := f.sibling(target)
	if err != nil {
		return err
	}
	return unix.Linkat(unix.AT_FDCWD, proc(t.fd), f.fd, name, unix.AT_SYMLINK_FOLLOW)
}

// RenameAt replaces what has the new name, as rename(2) does.
func (f *dirFile) RenameAt(oldName string, newDir p9.File, newName string) error {
	if err := f.entry(oldName); err != nil {
		return err
	}
	if err := entryName(newName); err != nil {
		return err
	}
	d, err := f.sibling(newDir)
	if err != nil {
		return err
	}
	return unix.Renameat(f.fd, oldName, d.fd, newName)
}

// UnlinkAt removes a name. The flags are the wire's: AT_REMOVEDIR, which Linux has by the same
// number everywhere, or none.
func (f *dirFile) UnlinkAt(name string, flags uint32) error {
	if err := f.entry(name); err != nil {
		return err
	}
	if flags&^unix.AT_REMOVEDIR != 0 {
		return unix.EINVAL
	}
	return unix.Unlinkat(f.fd, name, int(flags))
}

// Readlink returns what the link says, which concerns the driver alone.
func (f *dirFile) Readlink() (string, error) {
	if f.kind != unix.S_IFLNK {
		return "", unix.EINVAL
	}
	b := make([]byte, maxPath+1)
	n, err := unix.Readlinkat(f.fd, "", b)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}
