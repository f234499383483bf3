package p9

import (
	"math"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// Lock sets or removes a lock of the host's on a range of bytes, seen by all programs there. Its
// owner is the open File, not the process of the driver's that asked: two processes that share a
// File are kept apart by their own kernel, and closing the File removes its locks. It never
// waits: what somebody else has locked is p9.LockStatusBlocked, whatever the flags say, and the
// driver asks again.
func (f *dirFile) Lock(_ int, kind p9.LockType, _ p9.LockFlags, start, length uint64, _ string) (p9.LockStatus, error) {
	l, err := hostLock(kind, start, length)
	if err != nil {
		return p9.LockStatusError, err
	}
	switch err := unix.FcntlFlock(uintptr(f.io.Load()), unix.F_OFD_SETLK, &l); err {
	case nil:
		return p9.LockStatusOK, nil
	case unix.EAGAIN, unix.EACCES:
		return p9.LockStatusBlocked, nil
	default:
		return p9.LockStatusError, err
	}
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
	if err := unix.FcntlFlock(uintptr(f.io.Load()), unix.F_OFD_GETLK, &h); err != nil {
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
