package p9

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/hugelgupf/p9/linux"
)

// maxErrno is the largest number that Linux takes for an error (MAX_ERRNO).
const maxErrno = 4095

// errno is the Linux error number that an Rlerror tells the client. Errors without one become
// EIO.
func errno(err error) uint32 {
	var n uint64
	switch e := err.(type) { // the usual ones cost nothing
	case linux.Errno:
		n = uint64(e)
	case syscall.Errno:
		n = uint64(e)
	default:
		n = dig(err)
	}
	if n == 0 || n > maxErrno {
		return uint32(linux.EIO)
	}
	return uint32(n)
}

// dig looks for a number in what is wrapped.
func dig(err error) uint64 {
	var l linux.Errno
	var s syscall.Errno // unix.Errno is the same type
	switch {
	case errors.As(err, &l):
		return uint64(l)
	case errors.As(err, &s):
		return uint64(s)
	case errors.Is(err, fs.ErrNotExist):
		return uint64(linux.ENOENT)
	case errors.Is(err, fs.ErrExist):
		return uint64(linux.EEXIST)
	case errors.Is(err, fs.ErrPermission):
		return uint64(linux.EACCES)
	case errors.Is(err, fs.ErrInvalid):
		return uint64(linux.EINVAL)
	case errors.Is(err, fs.ErrClosed):
		return uint64(linux.EBADF)
	}
	return 0
}
