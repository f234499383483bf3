package p9

import (
	"io"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// Open opens regular files and directories. A link is ELOOP, any other node ENXIO: opening those
// does things, or waits.
func (f *dirFile) Open(mode p9.OpenFlags) (p9.QID, uint32, error) {
	flags, err := openFlags(mode)
	if err != nil {
		return p9.QID{}, 0, err
	}
	if err := f.openAs(flags); err != nil {
		return p9.QID{}, 0, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return p9.QID{}, 0, err
	}
	return f.x.qid(&st), 0, nil
}

func (f *dirFile) openAs(flags int) error {
	switch f.kind {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		if changes(flags) {
			return unix.EISDIR
		}
	case unix.S_IFLNK:
		return unix.ELOOP
	default:
		return unix.ENXIO
	}
	if f.x.readOnly && changes(flags) {
		return unix.EROFS
	}
	fd, err := f.reopen(flags)
	if err == unix.EPERM && flags&unix.O_NOATIME != 0 { // somebody else's file; the time is worth no error
		fd, err = f.reopen(flags &^ unix.O_NOATIME)
	}
	if err != nil {
		return err
	}
	return f.opened(fd, flags)
}

// reopen opens what the descriptor stands for, with room for one more.
func (f *dirFile) reopen(flags int) (int, error) {
	if err := f.x.reserve(); err != nil {
		return -1, err
	}
	for {
		fd, err := unix.Open(proc(f.fd), flags, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			f.x.unreserve()
			return -1, err
		}
		return fd, nil
	}
}

// opened takes over a descriptor to read and write with. A File is opened once.
func (f *dirFile) opened(fd, flags int) error {
	f.reading.Lock()
	defer f.reading.Unlock()
	if f.io.Load() >= 0 {
		f.x.shut(fd)
		return unix.EBUSY
	}
	f.flags = flags
	f.io.Store(int32(fd))
	return nil
}

// ReadAt reads with one call of the kernel, which returns less than asked for at the end of the
// file only; there it is io.EOF.
func (f *dirFile) ReadAt(p []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(int(f.io.Load()), p, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		if n == 0 && len(p) > 0 {
			return 0, io.EOF
		}
		return n, nil
	}
}

// WriteAt may write less than it was given without an error, when the host is full. With
// O_APPEND it writes at the end, wherever off is.
func (f *dirFile) WriteAt(p []byte, off int64) (int, error) {
	for {
		n, err := unix.Pwrite(int(f.io.Load()), p, off)
		if err == unix.EINTR {
			continue
		}
		return max(n, 0), err
	}
}

const (
	vectors    = 8    // to one call of the kernel: for more something is allocated
	maxVectors = 1024 // that the kernel takes
)

// ReadVecAt implements VectorReader.
func (f *dirFile) ReadVecAt(v [][]byte, off int64) (int, error) {
	return f.batches(v, off, unix.Preadv)
}

// WriteVecAt implements VectorWriter. What is appended is not split, lest something of another's
// come between.
func (f *dirFile) WriteVecAt(v [][]byte, off int64) (int, error) {
	if fd := int(f.io.Load()); fd >= 0 && f.flags&unix.O_APPEND != 0 && len(v) <= maxVectors {
		return once(fd, v, off, unix.Pwritev)
	}
	return f.batches(v, off, unix.Pwritev)
}

type vectorCall func(fd int, v [][]byte, off int64) (int, error)

func (f *dirFile) batches(v [][]byte, off int64, call vectorCall) (int, error) {
	fd, done := int(f.io.Load()), 0
	for {
		now := v[:min(len(v), vectors)]
		n, err := once(fd, now, off+int64(done), call)
		done += n
		if err != nil {
			if done > 0 { // it comes again
				return done, nil
			}
			return 0, err
		}
		v = v[len(now):]
		if len(v) == 0 || n < total(now) {
			return done, nil
		}
	}
}

func once(fd int, v [][]byte, off int64, call vectorCall) (int, error) {
	for {
		n, err := call(fd, v, off)
		if err == unix.EINTR {
			continue
		}
		return max(n, 0), err
	}
}

func total(v [][]byte) (n int) {
	for _, b := range v {
		n += len(b)
	}
	return n
}

// FSync returns when the file is as it is on the disk, too.
func (f *dirFile) FSync() error { return unix.Fsync(int(f.io.Load())) }
