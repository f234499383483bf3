package p9

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// DirOptions are how a directory is exported. The zero value exports it as it is, to be
// written.
type DirOptions struct {
	// ReadOnly refuses with EROFS everything that changes a file or a directory, before
	// anything of it has happened. Access times are the host's affair all the same.
	ReadOnly bool

	// Squash, if not nil, makes every file appear as Squash's, and every new one belong to
	// it. A file cannot be given to anybody else (EPERM); giving it to Squash changes nothing.
	Squash *Owner

	// UIDs and GIDs translate between the driver's numbers, Squash's among them, and the
	// host's. Empty, they are the same. With a map, the owner of a host's file outside it
	// appears as 65534, and a number of the driver's outside it is refused with EINVAL, none at
	// all among them.
	UIDs, GIDs []IDRange

	// MaxOpen bounds the export's file descriptors: one for each File, and one more for each
	// that was opened. Beyond, calls fail with ENFILE. 0 is half of what the process may have
	// (RLIMIT_NOFILE when Dir is called), at most 65536, for all exports together that say 0: the
	// other half is not the drivers' to use up.
	MaxOpen int
}

// Owner is a user and a group, in the driver's numbers.
type Owner struct {
	UID, GID uint32
}

// An Export is a p9.Attacher that shares a directory of the host, and nothing outside it:
// neither "..", nor links of whatever kind, nor a race with somebody who renames lead anywhere
// else, for every file is a descriptor got from its directory's by one name that is no path,
// and no link is ever followed. Other file systems mounted below the directory are outside
// (EXDEV). Regular files and directories can be opened. Other nodes can be looked at, renamed,
// linked and removed, but opened by nobody here (ENXIO), and device nodes cannot be made
// (EPERM).
//
// The files have all the optional interfaces of this package. Their errors are unix.Errno,
// besides ReadAt's io.EOF. What the process may not do on the host, its driver may not either;
// within that nothing is checked, for permissions between the driver's users are enforced by
// the driver's kernel.
//
// Its methods, and those of its files, may be called from several goroutines at once.
type Export struct {
	root     int // O_PATH
	dev, ino uint64
	mount    string // the mount the root is on, where the kernel is too old to stay on it
	readOnly bool
	squash   *Owner
	uids     idMap
	gids     idMap
	max      int64
	shared   bool         // max is for all that are shared
	open     atomic.Int64 // descriptors, root's not among them
	closed   atomic.Bool
}

var (
	_ p9.Attacher = (*Export)(nil)
	_ io.Closer   = (*Export)(nil)
)

const (
	defaultMaxOpen = 1 << 16
	handleFlags    = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
)

// Dir exports the directory, which path may name by way of symbolic links. It needs /proc, then
// and later.
func Dir(path string, o DirOptions) (*Export, error) {
	x := &Export{readOnly: o.ReadOnly, max: int64(o.MaxOpen)}
	var err error
	if x.uids, err = newIDMap(o.UIDs); err != nil {
		return nil, fmt.Errorf("p9: export of %s: UIDs: %w", path, err)
	}
	if x.gids, err = newIDMap(o.GIDs); err != nil {
		return nil, fmt.Errorf("p9: export of %s: GIDs: %w", path, err)
	}
	if o.Squash != nil {
		squash := *o.Squash
		x.squash = &squash
		_, u := x.uids.toHost(squash.UID)
		_, g := x.gids.toHost(squash.GID)
		if !u || !g {
			return nil, fmt.Errorf("p9: export of %s: the maps have no room for %d:%d", path, squash.UID, squash.GID)
		}
	}
	if x.max < 0 {
		return nil, fmt.Errorf("p9: export of %s: at most %d descriptors", path, x.max)
	}
	if x.shared = x.max == 0; x.shared {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return nil, fmt.Errorf("p9: export of %s: %w", path, err)
		}
		x.max = int64(min(limit.Cur/2, defaultMaxOpen))
	}
	if x.root, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if err := x.look(); err != nil {
		unix.Close(x.root)
		return nil, fmt.Errorf("p9: export of %s: %w", path, err)
	}
	return x, nil
}

// look finds out what has to be known of the root and of the kernel.
func (x *Export) look() error {
	var st unix.Stat_t
	if err := unix.Fstat(x.root, &st); err != nil {
		return err
	}
	x.dev, x.ino = st.Dev, st.Ino
	var fs unix.Statfs_t
	if err := unix.Statfs("/proc/self/fd", &fs); err != nil || fs.Type != unix.PROC_SUPER_MAGIC {
		return errors.New("there is no /proc")
	}
	fd, err := unix.Openat2(x.root, ".", &stepHow)
	if err == nil {
		return unix.Close(fd)
	}
	// A kernel before 5.6, or a filter of system calls older than that.
	x.mount, err = mountOf(x.root)
	return err
}

// Attach returns the directory itself.
func (x *Export) Attach() (p9.File, error) {
	if x.closed.Load() {
		return nil, unix.EBADF
	}
	f, _, err := x.handle(&lockers{by: make(map[locker]*lockOwner)}, func() (int, error) { return dup(x.root) })
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Close ends Attach. Files that were attached or walked to go on until they are closed. It must
// not be called beside Attach, and more than once it is EBADF.
func (x *Export) Close() error {
	if x.closed.Swap(true) {
		return unix.EBADF
	}
	return unix.Close(x.root)
}

// together counts the descriptors of all exports that are shared.
var together atomic.Int64

// reserve makes room for a descriptor that is about to be opened.
func (x *Export) reserve() error {
	n := x.open.Add(1)
	if x.shared {
		n = together.Add(1)
	}
	if n > x.max {
		x.unreserve()
		return unix.ENFILE
	}
	return nil
}

// unreserve is for one that was not opened, or closed.
func (x *Export) unreserve() {
	x.open.Add(-1)
	if x.shared {
		together.Add(-1)
	}
}

// shut closes a descriptor that reserve made room for.
func (x *Export) shut(fd int) error {
	x.unreserve()
	return unix.Close(fd)
}

// handle makes a file of the O_PATH descriptor that get gets.
func (x *Export) handle(l *lockers, get func() (int, error)) (*dirFile, unix.Stat_t, error) {
	var st unix.Stat_t
	if err := x.reserve(); err != nil {
		return nil, st, err
	}
	fd, err := get()
	for err == unix.EINTR { // of file systems that are programs
		fd, err = get()
	}
	if err != nil {
		x.unreserve()
		return nil, st, err
	}
	if err := unix.Fstat(fd, &st); err != nil {
		x.shut(fd)
		return nil, st, err
	}
	f := &dirFile{x: x, fd: fd, kind: st.Mode & unix.S_IFMT, dev: st.Dev, ino: st.Ino, lockers: l}
	f.io.Store(-1)
	return f, st, nil
}

// qid returns the file's identity. Path is the inode's number for what is on the root's device.
// One mount can have several, each with numbers of its own (the subvolumes of btrfs, the layers
// of overlayfs): theirs are shuffled, which never makes two files of one device the same, and
// two of different devices only as often as random numbers are.
func (x *Export) qid(st *unix.Stat_t) p9.QID {
	return p9.QID{Type: qidType(st.Mode), Version: version(st), Path: x.path(st.Dev, st.Ino)}
}

func (x *Export) path(dev, ino uint64) uint64 {
	if dev == x.dev {
		return ino
	}
	return shuffle(ino ^ shuffle(dev))
}

// version tells whether the file has changed, of which the change time knows all. It is never 0,
// which to Linux means a file that must not be cached.
func version(st *unix.Stat_t) uint32 {
	return max(1, uint32(shuffle(uint64(st.Ctim.Sec)*1e9+uint64(st.Ctim.Nsec))))
}

// shuffle is one to one.
func shuffle(n uint64) uint64 {
	n = (n ^ n>>33) * 0xff51afd7ed558ccd
	n = (n ^ n>>33) * 0xc4ceb9fe1a85ec53
	return n ^ n>>33
}

func qidType(mode uint32) p9.QIDType {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return p9.TypeDir
	case unix.S_IFLNK:
		return p9.TypeSymlink
	}
	return p9.TypeRegular
}

// entryName admits the name of one entry of a directory, and nothing else. The kernel is not
// relied on for that: what is no path here is none there.
func entryName(name string) error {
	switch {
	case name == "":
		return unix.ENOENT
	case len(name) > maxName:
		return unix.ENAMETOOLONG
	case name == ".", name == "..", strings.IndexByte(name, '/') >= 0, strings.IndexByte(name, 0) >= 0:
		return unix.EINVAL
	}
	return nil
}

// proc is a path to what the descriptor is of, for the system calls that take no O_PATH
// descriptor. It is no link to be followed anywhere: the kernel goes to the file itself, whether
// or not that has a name still, and if it is a symbolic link stays there.
func proc(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3) }

// mountOf returns the kernel's name of the mount that the descriptor's file was reached by.
func mountOf(fd int) (string, error) {
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	_, id, found := strings.Cut(string(info), "mnt_id:")
	if !found {
		return "", unix.EXDEV
	}
	id, _, _ = strings.Cut(id, "\n")
	return strings.TrimSpace(id), nil
}

// offset is the kernel's kind of position in a file.
func offset(n uint64) (int64, error) {
	if n > math.MaxInt64 {
		return 0, unix.EINVAL
	}
	return int64(n), nil
}
