package p9

import "github.com/hugelgupf/p9/p9"

// What the device serves is a p9.Attacher and the p9.File it hands out, of
// github.com/hugelgupf/p9: any file system written for that library will do. A File may do
// more, and is asked with the interfaces below. Dir's files have them all.

// Concurrent is a File that needs no exclusion by its server: its methods may run at any time
// beside those of any other File of the tree, whatever they change, and it does not care what
// it is called, so Renamed is not called. Without it the guarantees that p9.File documents are
// kept, and a call that takes long can make others wait.
type Concurrent interface {
	p9.File
	Concurrent()
}

// VectorReader is a File that reads into several buffers, which may be the driver's memory
// itself. A call must be bounded, as that of a regular file is: until it returns, the driver
// is kept waiting with a reset. At the end of the file it returns 0 and no error.
type VectorReader interface {
	ReadVecAt(v [][]byte, off int64) (int, error)
}

// VectorWriter is the same for writing. A short count with no error is an answer.
type VectorWriter interface {
	WriteVecAt(v [][]byte, off int64) (int, error)
}

// Lock describes a byte-range lock of an open file (Tgetlock).
type Lock struct {
	Type   p9.LockType
	Start  uint64
	Length uint64 // 0: to the end of the file, however long it becomes
	PID    uint32 // of the owner, in the client's terms
	Client string
}

// LockGetter is a File that can be asked who holds a lock: it returns the first one that keeps
// l from being set, or l with p9.Unlock for its type. Linux's client forgets what it was asked for,
// and always sends p9.Unlock: that asks for any lock.
type LockGetter interface {
	GetLock(l Lock) (Lock, error)
}

// Stepper is a File that walks one name without the slices that Walk makes. The File it
// returns stands for the child, as Walk's does.
type Stepper interface {
	Step(name string) (p9.File, p9.QID, error)
}

// Dirent is one directory entry. Name is valid only during the call it is passed to.
type Dirent struct {
	QID    p9.QID
	Offset uint64 // where to go on behind this entry
	Type   p9.QIDType
	Name   []byte
}

// DirReader is an open directory that hands out its entries from off on, one by one, until
// emit returns false: that entry was not taken, and comes again next time.
type DirReader interface {
	EachDirent(off uint64, emit func(*Dirent) bool) error
}
