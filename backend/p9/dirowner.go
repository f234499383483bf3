package p9

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// To POSIX a lock belongs to a process, by whichever descriptor it was set, and SQLite for one
// relies on it. The host knows locks of open files. So what one process of the driver's has
// locked in one file is locked through a descriptor of its own, which all Files share that the
// process locks it by.

// lockers are the owners of locks of one attachment. What two clients call themselves may be the
// same, so those of another attachment are others.
type lockers struct {
	mu sync.Mutex
	by map[locker]*lockOwner
}

// locker is a process of the driver's, and a file.
type locker struct {
	dev, ino uint64
	client   string
	pid      int
}

// lockOwner is a descriptor that holds locks.
type lockOwner struct {
	who   locker
	fd    int
	files []*dirFile // that it was used by; with the last its locks go. Guarded by lockers.mu
}

// maxClient bounds the name of a client, which is kept. Linux's has 64 bytes.
const maxClient = 255

// owner is the owner of a lock that is set by way of an open file, or nil when there is none yet
// and none is to be made.
func (f *dirFile) owner(pid int, client string, make bool) (*lockOwner, error) {
	if len(client) > maxClient {
		return nil, unix.EINVAL
	}
	who := locker{f.dev, f.ino, client, pid}
	f.lockers.mu.Lock()
	defer f.lockers.mu.Unlock()
	o := f.lockers.by[who]
	if o == nil {
		if !make {
			return nil, nil
		}
		fd, err := f.lockable()
		if err != nil {
			return nil, err
		}
		o = &lockOwner{who: who, fd: fd}
		f.lockers.by[who] = o
	}
	if !slices.Contains(o.files, f) {
		o.files = append(o.files, f)
		f.owners = append(f.owners, o)
	}
	return o, nil
}

// lockable opens the file once more, for whichever kind of lock can be had.
func (f *dirFile) lockable() (fd int, err error) {
	modes := []int{unix.O_RDWR, unix.O_RDONLY, unix.O_WRONLY}
	if f.x.readOnly {
		modes = modes[1:2]
	}
	for _, mode := range modes {
		fd, err = f.reopen(mode | unix.O_CLOEXEC | unix.O_NONBLOCK)
		if err == nil || err == unix.ENFILE {
			break
		}
	}
	return fd, err
}

// disown is the part of Close that concerns locks.
func (f *dirFile) disown() {
	f.lockers.mu.Lock()
	defer f.lockers.mu.Unlock()
	for _, o := range f.owners {
		o.files = slices.DeleteFunc(o.files, func(other *dirFile) bool { return other == f })
		if len(o.files) == 0 {
			delete(f.lockers.by, o.who)
			f.x.shut(o.fd)
		}
	}
	f.owners = nil
}
