package p9

import (
	"math"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// Lock sets or removes a lock of the host's on a range of bytes, seen by all programs there. Its
// owner is the process of the driver's that asked, whichever of its Files it asks by; when the
// last File is closed by which it ever did, its locks are removed. It never waits: what somebody
// else has locked is p9.LockStatusBlocked, whatever the flags say, and the driver asks again.
func (f *dirFile) Lock(pid int, kind p9.LockType, _ p9.LockFlags, start, length uint64, client string) (p9.LockStatus, error) {
	l, err := hostLock(kind, start, length)
	if err != nil {
		return p9.LockStatusError, err
	}
	if !f.mayLock(kind) {
		return p9.LockStatusError, unix.EBADF
	}
	o, err := f.owner(pid, client, kind != p9.Unlock)
	if err != nil {
		return p9.LockStatusError, err
	}
	if o == nil {
		return p9.LockStatusOK, nil // nothing was locked
	}
	switch err := unix.FcntlFlock(uintptr(o.fd), unix.F_OFD_SETLK, &l); err {
	case nil:
		return p9.LockStatusOK, nil
	case unix.EAGAIN, unix.EACCES:
		return p9.LockStatusBlocked, nil
	default:
		return p9.LockStatusError, err
	}
}

// mayLock reports whether the file is open for what the lock protects.
func (f *dirFile) mayLock(kind p9.LockType) bool {
	switch mode := f.flags & unix.O_ACCMODE; {
	case f.io.Load() < 0:
		return false
	case kind == p9.ReadLock:
		return mode != unix.O_WRONLY
	case kind == p9.WriteLock:
		return mode != unix.O_RDONLY
	}
	return true
}

// GetLock implements LockGetter. Whose the lock is that it finds is not told: the host knows its
// own processes only, which are none of the driver's.
func (f *dirFile) GetLock(l Lock) (Lock, error) {
	h, err := hostLock(l.Type, l.Start, l.Length)
	if err != nil {
		return Lock{}, err
	}
	if h.Type == unix.F_UNLCK {
		h.Type = unix.F_WRLCK // in whose way any lock is
	}
	fd := int(f.io.Load())
	if fd < 0 {
		return Lock{}, unix.EBADF
	}
	if o, err := f.owner(int(int32(l.PID)), l.Client, false); err != nil {
		return Lock{}, err
	} else if o != nil {
		fd = o.fd // one's own locks are in nobody's way
	}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &h); err != nil {
		return Lock{}, err
	}
	switch h.Type {
	case unix.F_RDLCK:
		return Lock{Type: p9.ReadLock, Start: uint64(h.Start), Length: uint64(h.Len)}, nil
	case unix.F_WRLCK:
		return Lock{Type: p9.WriteLock, Start: uint64(h.Start), Length: uint64(h.Len)}, nil
	}
	l.Type = p9.Unlock
	return l, nil
}

func hostLock(kind p9.LockType, start, length uint64) (unix.Flock_t, error) {
	l := unix.Flock_t{Whence: unix.SEEK_SET}
	switch kind {
	case p9.ReadLock:
		l.Type = unix.F_RDLCK
	case p9.WriteLock:
		l.Type = unix.F_WRLCK
	case p9.Unlock:
		l.Type = unix.F_UNLCK
	default:
		return l, unix.EINVAL
	}
	var err error
	if l.Start, err = offset(start); err != nil {
		return l, err
	}
	if length <= math.MaxInt64-start { // else it is to the end of all files, which 0 says
		l.Len = int64(length)
	}
	return l, nil
}
