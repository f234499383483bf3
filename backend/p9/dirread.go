package p9

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
)

// entries is what reading a directory needs, however large that is.
type entries struct {
	buf   [16 << 10]byte
	entry Dirent
}

var entriesPool = sync.Pool{New: func() any { return new(entries) }}

// EachDirent implements DirReader. Offsets are those of the host's file system, which keep their
// meaning while entries come and go; 0 is the beginning. Type is as in readdir(3), which is what
// the wire has. emit must not call f.
func (f *dirFile) EachDirent(off uint64, emit func(*Dirent) bool) error {
	if f.kind != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	pos, err := offset(off)
	if err != nil {
		return err
	}
	e := entriesPool.Get().(*entries)
	defer entriesPool.Put(e)
	f.reading.Lock()
	defer f.reading.Unlock()
	fd := int(f.io.Load())
	if off == 0 || off != f.at { // from the beginning also to see what is new
		if _, err := unix.Seek(fd, pos, unix.SEEK_SET); err != nil {
			return err
		}
	}
	f.at = 0
	for {
		n, err := unix.Getdents(fd, e.buf[:])
		if err != nil {
			return err
		}
		if n == 0 {
			f.at = off
			return nil
		}
		for b := e.buf[:n]; len(b) > 0; {
			b = e.next(b)
			f.identify(&e.entry)
			if !emit(&e.entry) {
				return nil
			}
			off = e.entry.Offset
		}
	}
}

// next takes one of the kernel's entries (getdents64(2)) and returns the others.
func (e *entries) next(b []byte) []byte {
	const header = 19
	size := binary.NativeEndian.Uint16(b[16:])
	name := b[header:size]
	e.entry = Dirent{
		QID:    p9.QID{Path: binary.NativeEndian.Uint64(b)},
		Offset: binary.NativeEndian.Uint64(b[8:]),
		Type:   p9.QIDType(b[18]),
		Name:   name[:bytes.IndexByte(name, 0)],
	}
	return b[size:]
}

// identify makes of the inode's number what GetAttr says of the file, as far as the directory
// tells: an entry's device is taken to be its directory's. The root's parent is the root.
func (f *dirFile) identify(d *Dirent) {
	ino := d.QID.Path
	if f.ino == f.x.ino && f.dev == f.x.dev && string(d.Name) == ".." {
		ino = f.ino
	}
	d.QID.Path = f.x.path(f.dev, ino)
	switch d.Type {
	case unix.DT_DIR:
		d.QID.Type = p9.TypeDir
	case unix.DT_LNK:
		d.QID.Type = p9.TypeSymlink
	}
}

// maxList bounds what one Readdir returns, and so allocates.
const maxList = 1 << 20

// Readdir returns entries that are count bytes on the wire.
func (f *dirFile) Readdir(off uint64, count uint32) (p9.Dirents, error) {
	var list p9.Dirents
	room, more := min(int64(count), maxList), false
	err := f.EachDirent(off, func(d *Dirent) bool {
		room -= direntSize + int64(len(d.Name))
		if more = room < 0; more {
			return false
		}
		list = append(list, p9.Dirent{QID: d.QID, Offset: d.Offset, Type: d.Type, Name: string(d.Name)})
		return true
	})
	if err == nil && more && len(list) == 0 {
		return nil, unix.EINVAL
	}
	return list, err
}
