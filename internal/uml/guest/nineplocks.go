package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

var (
	lockTypes    = map[string]int16{"read": unix.F_RDLCK, "write": unix.F_WRLCK, "none": unix.F_UNLCK}
	lockCommands = map[string]int{"get": unix.F_GETLK, "set": unix.F_SETLK, "wait": unix.F_SETLKW}

	lockedMu sync.Mutex
	locked   = map[string]*os.File{} // open files by path
)

// locks is about the byte ranges that this process has of a file. Another one, on the host, has
// others.
func locks(args talk.LockArgs) (r talk.LockResult, err error) {
	f, err := lockedFile(args)
	if err != nil || f == nil {
		return r, err
	}
	l := unix.Flock_t{Type: lockTypes[args.Type], Start: args.Start, Len: args.Length}
	r.Error = errorName(unix.FcntlFlock(f.Fd(), lockCommands[args.Command], &l))
	r.Start, r.Length = l.Start, l.Len
	for name, value := range lockTypes {
		if value == l.Type {
			r.Type = name
		}
	}
	return r, nil
}

// lockedFile is the file that stays open, or nil if it was closed.
func lockedFile(args talk.LockArgs) (*os.File, error) {
	lockedMu.Lock()
	defer lockedMu.Unlock()
	f := locked[args.Path]
	if args.Command == "close" {
		if f == nil {
			return nil, fmt.Errorf("%s is not open", args.Path)
		}
		delete(locked, args.Path)
		return nil, f.Close()
	}
	if f == nil {
		var err error
		if f, err = os.OpenFile(filepath.Join(talk.Share, args.Path), os.O_RDWR|os.O_CREATE, 0o666); err != nil {
			return nil, err
		}
		locked[args.Path] = f
	}
	return f, nil
}
