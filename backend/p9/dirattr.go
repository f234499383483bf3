package p9

import (
	"math"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// attrMask is what every file has: all that stat(2) knows.
var attrMask = p9.AttrMask{
	Mode: true, NLink: true, UID: true, GID: true, RDev: true, ATime: true, MTime: true, CTime: true,
	INo: true, Size: true, Blocks: true,
}

// GetAttr returns them all, asked for or not.
func (f *dirFile) GetAttr(p9.AttrMask) (p9.QID, p9.AttrMask, p9.Attr, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return p9.QID{}, p9.AttrMask{}, p9.Attr{}, err
	}
	return f.x.qid(&st), attrMask, f.x.attr(&st), nil
}

func (x *Export) attr(st *unix.Stat_t) p9.Attr {
	uid, gid := x.uids.toGuest(st.Uid), x.gids.toGuest(st.Gid)
	if x.squash != nil {
		uid, gid = x.squash.UID, x.squash.GID
	}
	return p9.Attr{
		Mode:             p9.FileMode(st.Mode),
		UID:              p9.UID(uid),
		GID:              p9.GID(gid),
		NLink:            p9.NLink(st.Nlink),
		RDev:             p9.Dev(st.Rdev),
		Size:             uint64(st.Size),
		BlockSize:        uint64(st.Blksize),
		Blocks:           uint64(st.Blocks),
		ATimeSeconds:     uint64(st.Atim.Sec),
		ATimeNanoSeconds: uint64(st.Atim.Nsec),
		MTimeSeconds:     uint64(st.Mtim.Sec),
		MTimeNanoSeconds: uint64(st.Mtim.Nsec),
		CTimeSeconds:     uint64(st.Ctim.Sec),
		CTimeNanoSeconds: uint64(st.Ctim.Nsec),
	}
}

// StatFS returns what the host's file system says of itself.
func (f *dirFile) StatFS() (p9.FSStat, error) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(f.fd, &s); err != nil {
		return p9.FSStat{}, err
	}
	return p9.FSStat{
		Type:            uint32(s.Type),
		BlockSize:       uint32(s.Bsize),
		Blocks:          s.Blocks,
		BlocksFree:      s.Bfree,
		BlocksAvailable: s.Bavail,
		Files:           s.Files,
		FilesFree:       s.Ffree,
		FSID:            uint64(uint32(s.Fsid.Val[0])) | uint64(uint32(s.Fsid.Val[1]))<<32,
		NameLength:      uint32(min(s.Namelen, maxName)),
	}, nil
}

// SetAttr sets what is valid: size, owner, mode, times, in an order in which none undoes another.
// What can be refused by looking at it is refused before anything is done; if the host refuses
// one, those before it stay. A change time cannot be set, but alone it is brought up to date.
func (f *dirFile) SetAttr(valid p9.SetAttrMask, a p9.SetAttr) error {
	if f.x.readOnly {
		return unix.EROFS
	}
	if valid.Permissions && f.kind == unix.S_IFLNK {
		return unix.EOPNOTSUPP
	}
	if valid.Size {
		switch {
		case f.kind == unix.S_IFDIR:
			return unix.EISDIR
		case f.kind != unix.S_IFREG:
			return unix.EINVAL
		case a.Size > math.MaxInt64:
			return unix.EFBIG
		}
	}
	uid, gid, err := f.x.newOwner(valid, a)
	if err != nil {
		return err
	}
	if valid.Permissions && a.Permissions&setID != 0 && f.kind == unix.S_IFREG {
		if err := f.mayBecome(uid, gid); err != nil {
			return err
		}
	}
	ts := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
	if valid.ATime {
		if ts[0], err = wireTime(valid.ATimeNotSystemTime, a.ATimeSeconds, a.ATimeNanoSeconds); err != nil {
			return err
		}
	}
	if valid.MTime {
		if ts[1], err = wireTime(valid.MTimeNotSystemTime, a.MTimeSeconds, a.MTimeNanoSeconds); err != nil {
			return err
		}
	}

	if valid.Size {
		if err := f.truncate(int64(a.Size)); err != nil {
			return err
		}
	}
	if uid >= 0 || gid >= 0 || valid == (p9.SetAttrMask{CTime: true}) {
		if err := chown(f.fd, uid, gid); err != nil {
			return err
		}
	}
	if valid.Permissions { // behind the owner, whose change takes setuid away
		if err := f.chmod(uint32(a.Permissions) & modeBits); err != nil {
			return err
		}
	}
	if valid.ATime || valid.MTime { // behind the size, which changes them
		return f.utimes(ts[:])
	}
	return nil
}

const (
	modeBits = 0o7777
	setID    = unix.S_ISUID | unix.S_ISGID
)

// mayBecome refuses setuid and setgid for a file of which somebody is the owner that the driver
// could not have named: it would lend it that user's rights. uid and gid are those it is about to
// get, or -1.
func (f *dirFile) mayBecome(uid, gid int) error {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return err
	}
	x := f.x
	if x.squash != nil {
		u, _ := x.uids.toHost(x.squash.UID)
		g, _ := x.gids.toHost(x.squash.GID)
		if st.Uid != u || st.Gid != g {
			return unix.EPERM
		}
		return nil
	}
	if uid < 0 && !x.uids.has(st.Uid) || gid < 0 && !x.gids.has(st.Gid) {
		return unix.EPERM
	}
	return nil
}

// chown concerns the descriptor's file itself, also if it is a link. -1 leaves one as it is.
func chown(fd, uid, gid int) error {
	return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
}

// chmod and utimes first try a way that only newer kernels have (6.6, 5.8), but that is several
// times faster than the one by /proc; what is wrong with the file is wrong both times.

func (f *dirFile) chmod(mode uint32) error {
	if f.x.mount == "" && unix.Fchmodat(f.fd, "", mode, unix.AT_EMPTY_PATH) == nil {
		return nil
	}
	return unix.Chmod(proc(f.fd), mode)
}

func (f *dirFile) utimes(ts []unix.Timespec) error {
	if f.x.mount == "" && unix.UtimesNanoAt(f.fd, "", ts, unix.AT_EMPTY_PATH) == nil {
		return nil
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, proc(f.fd), ts, 0)
}

// newOwner returns the host's numbers for an owner to be set, -1 for what stays.
func (x *Export) newOwner(valid p9.SetAttrMask, a p9.SetAttr) (uid, gid int, err error) {
	uid, gid = -1, -1
	if x.squash != nil {
		if valid.UID && uint32(a.UID) != x.squash.UID || valid.GID && uint32(a.GID) != x.squash.GID {
			return 0, 0, unix.EPERM
		}
		return uid, gid, nil
	}
	if valid.UID {
		host, ok := x.uids.toHost(uint32(a.UID))
		if !ok {
			return 0, 0, unix.EINVAL
		}
		uid = int(host)
	}
	if valid.GID {
		host, ok := x.gids.toHost(uint32(a.GID))
		if !ok {
			return 0, 0, unix.EINVAL
		}
		gid = int(host)
	}
	return uid, gid, nil
}

// wireTime keeps the kernel's special values of nanoseconds from being said by the wire.
func wireTime(given bool, sec, nsec uint64) (unix.Timespec, error) {
	if !given {
		return unix.Timespec{Nsec: unix.UTIME_NOW}, nil
	}
	if nsec >= 1e9 {
		return unix.Timespec{}, unix.EINVAL
	}
	return unix.Timespec{Sec: int64(sec), Nsec: int64(nsec)}, nil
}

// truncate goes through the descriptor that is open, if that can write: who may write an open
// file may go on to, whatever its mode has become.
func (f *dirFile) truncate(size int64) error {
	if io := f.io.Load(); io >= 0 && f.flags&unix.O_ACCMODE != unix.O_RDONLY {
		return unix.Ftruncate(int(io), size)
	}
	io, err := f.reopen(unix.O_WRONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY)
	if err != nil {
		return err
	}
	defer f.x.shut(io)
	return unix.Ftruncate(io, size)
}
