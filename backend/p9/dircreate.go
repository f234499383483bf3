package p9

import (
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// What is made belongs to the owner that the driver names, or to Squash. Where the host does not
// let the process give files away it stays the process's own, as with every program of that user;
// the mode is the one asked for in any case, whatever the process's umask. Until both are set,
// nobody but the process's user gets at it.

// ownerBits are the bits of a mode that a new file starts with.
const ownerBits = 0o700

// Create makes a regular file and opens it. Without O_EXCL a regular file of that name will do,
// and is opened as by Open.
func (f *dirFile) Create(name string, mode p9.OpenFlags, perm p9.FileMode, uid p9.UID, gid p9.GID) (p9.File, p9.QID, uint32, error) {
	if err := f.entry(name); err != nil {
		return nil, p9.QID{}, 0, err
	}
	flags, err := openFlags(mode)
	if err != nil {
		return nil, p9.QID{}, 0, err
	}
	if flags&unix.O_DIRECTORY != 0 {
		return nil, p9.QID{}, 0, unix.EINVAL
	}
	n, st, err := f.create(name, flags, perm, uid, gid)
	for tries := 0; err == unix.EEXIST && mode&wireExcl == 0; tries++ {
		var old *dirFile
		if old, st, err = f.step(name); err == nil {
			if n, err = old, old.openAs(flags); err != nil {
				old.Close()
			}
			break
		}
		if err != unix.ENOENT || tries == maxTries {
			break
		}
		n, st, err = f.create(name, flags, perm, uid, gid) // it went away meanwhile
	}
	if err != nil {
		return nil, p9.QID{}, 0, err
	}
	return n, f.x.qid(&st), 0, nil
}

// maxTries bounds a race with somebody who makes and removes a file in turn.
const maxTries = 100

// create makes a regular file that is new, and opens it.
func (f *dirFile) create(name string, flags int, perm p9.FileMode, uid p9.UID, gid p9.GID) (*dirFile, unix.Stat_t, error) {
	u, g, err := f.x.creator(uid, gid)
	if err != nil {
		return nil, unix.Stat_t{}, err
	}
	n, st, err := f.x.handle(f.lockers, func() (int, error) {
		return unix.Openat(f.fd, name, flags|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, uint32(perm)&ownerBits)
	})
	if err != nil {
		return nil, st, err
	}
	// One descriptor is both: the name may mean something else by now, so there is no way to
	// another that is as short.
	n.flags = flags
	n.io.Store(int32(n.fd))
	if err := n.finish(&st, u, g, perm); err != nil {
		n.Close()
		return nil, st, err
	}
	return n, st, nil
}

// finish gives a new file its owner and its mode, and brings st up to date.
func (f *dirFile) finish(st *unix.Stat_t, uid, gid int, perm p9.FileMode) error {
	if uid >= 0 && uint32(uid) != st.Uid || gid >= 0 && uint32(gid) != st.Gid {
		err := chown(f.fd, uid, gid)
		if err == unix.EPERM { // the group may be another of the user's
			err = chown(f.fd, -1, gid)
		}
		if err != nil && err != unix.EPERM {
			return err
		}
	}
	if f.kind != unix.S_IFLNK {
		mode := uint32(perm) & modeBits
		if f.kind == unix.S_IFDIR {
			mode |= st.Mode & unix.S_ISGID // inherited
		}
		if err := f.chmod(mode); err != nil {
			return err
		}
	}
	return unix.Fstat(f.fd, st)
}

// creator returns the host's numbers for the owner of a new file, -1 for the process's own: that one
// is in no map.
func (x *Export) creator(uid p9.UID, gid p9.GID) (u, g int, err error) {
	if x.squash != nil {
		uid, gid = p9.UID(x.squash.UID), p9.GID(x.squash.GID)
	}
	u, g = -1, -1
	if uid != p9.NoUID || len(x.uids) > 0 {
		host, ok := x.uids.toHost(uint32(uid))
		if !ok {
			return 0, 0, unix.EINVAL
		}
		u = int(host)
	}
	if gid != p9.NoGID || len(x.gids) > 0 {
		host, ok := x.gids.toHost(uint32(gid))
		if !ok {
			return 0, 0, unix.EINVAL
		}
		g = int(host)
	}
	return u, g, nil
}

// Mkdir makes a directory. In one whose mode has setgid, so has the new one.
func (f *dirFile) Mkdir(name string, perm p9.FileMode, uid p9.UID, gid p9.GID) (p9.QID, error) {
	return f.node(name, unix.S_IFDIR, perm, uid, gid, func() error {
		return unix.Mkdirat(f.fd, name, uint32(perm)&ownerBits)
	})
}

// Symlink makes a link that says target, which nobody here follows.
func (f *dirFile) Symlink(target, name string, uid p9.UID, gid p9.GID) (p9.QID, error) {
	return f.node(name, unix.S_IFLNK, 0, uid, gid, func() error {
		return unix.Symlinkat(target, f.fd, name)
	})
}

// Mknod makes FIFOs and sockets, which are the driver's to use and nodes without a meaning here,
// and regular files. Devices would be the host's: EPERM.
func (f *dirFile) Mknod(name string, mode p9.FileMode, _, _ uint32, uid p9.UID, gid p9.GID) (p9.QID, error) {
	switch kind := uint32(mode) & unix.S_IFMT; kind {
	case 0, unix.S_IFREG:
		if err := f.entry(name); err != nil {
			return p9.QID{}, err
		}
		n, st, err := f.create(name, unix.O_RDONLY|unix.O_CLOEXEC, mode, uid, gid)
		if err != nil {
			return p9.QID{}, err
		}
		n.Close()
		return f.x.qid(&st), nil
	case unix.S_IFIFO, unix.S_IFSOCK:
		return f.node(name, kind, mode, uid, gid, func() error {
			return unix.Mknodat(f.fd, name, kind|uint32(mode)&ownerBits, 0)
		})
	case unix.S_IFCHR, unix.S_IFBLK, unix.S_IFDIR:
		if f.x.readOnly {
			return p9.QID{}, unix.EROFS
		}
		return p9.QID{}, unix.EPERM
	}
	return p9.QID{}, unix.EINVAL
}

// node makes what is no regular file, for which there is no call that also says what it made. If
// somebody puts another node of the same kind there meanwhile, that one gets the owner and mode:
// one of the same export, which whoever asked could have given it anyway.
func (f *dirFile) node(name string, kind uint32, perm p9.FileMode, uid p9.UID, gid p9.GID, mk func() error) (p9.QID, error) {
	if err := f.entry(name); err != nil {
		return p9.QID{}, err
	}
	u, g, err := f.x.creator(uid, gid)
	if err != nil {
		return p9.QID{}, err
	}
	if err := mk(); err != nil {
		return p9.QID{}, err
	}
	n, st, err := f.step(name)
	if err != nil {
		return p9.QID{}, err
	}
	defer n.Close()
	if n.kind != kind {
		return p9.QID{}, unix.ESTALE
	}
	if err := n.finish(&st, u, g, perm); err != nil {
		return p9.QID{}, err
	}
	return f.x.qid(&st), nil
}
