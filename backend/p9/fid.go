package p9

import (
	"sync"
	"sync/atomic"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// fid is what a number of the client stands for: a File, or the value of an extended attribute.
// It also lives on as the directory of others, and as long as a request uses it; then its File is
// closed. The number is not part of it.
type fid struct {
	dev        *Device
	refs       atomic.Int32
	file       p9.File // nil: an attribute that is read
	stepper    Stepper // the same File, or nil
	concurrent bool
	qid        p9.QID
	uid        p9.UID // who attached

	// Guarded by dev.tree.mu.
	node       *pathNode
	parent     *fid // the directory it was walked from; nil at the root
	prev, next *fid // others of the same node

	opened atomic.Uint32 // unopened, opening, opened
	// Once it is opened.
	flags  p9.OpenFlags
	vecIn  VectorReader // the same File, or nil
	vecOut VectorWriter
	dir    DirReader

	xattr atomic.Pointer[xattr]
}

const (
	unopened = iota
	opening
	opened
)

// setOpen notes that the File is open.
func (f *fid) setOpen(flags p9.OpenFlags) {
	f.flags = flags
	f.vecIn, _ = f.file.(VectorReader)
	f.vecOut, _ = f.file.(VectorWriter)
	f.dir, _ = f.file.(DirReader)
	f.opened.Store(opened)
}

// newFid makes a fid of a File at a node, both of which it takes over, with a reference to its
// parent that it takes over too. It has one reference.
func (d *Device) newFid(file p9.File, qid p9.QID, parent *fid, n *pathNode, uid p9.UID) *fid {
	f := d.tree.fid()
	f.dev, f.file, f.qid, f.parent, f.node, f.uid = d, file, qid, parent, n, uid
	f.stepper, _ = file.(Stepper)
	_, f.concurrent = file.(Concurrent)
	f.refs.Store(1)
	d.files.Add(1)
	d.tree.join(f)
	return f
}

// room tells whether one more File may be held.
func (d *Device) room() error {
	if d.files.Load() >= int64(d.opts.MaxFiles) {
		return linux.ENFILE
	}
	return nil
}

func (f *fid) get() *fid {
	f.refs.Add(1)
	return f
}

// put lets go of the fid, and of the directories that were only held for it.
func (f *fid) put() {
	for f != nil && f.refs.Add(-1) == 0 {
		d := f.dev
		if x := f.xattr.Load(); x != nil {
			d.xattrs.Add(-int64(x.size))
		}
		if f.file == nil {
			return
		}
		parent := d.tree.part(f)
		d.close(f.file)
		d.files.Add(-1)
		d.tree.spare(f)
		f = parent
	}
}

// close closes a File that may panic.
func (d *Device) close(file p9.File) {
	defer func() {
		if recover() != nil {
			d.panics.Add(1)
		}
	}()
	file.Close()
}

func (f *fid) isDir() bool     { return f.qid.Type&p9.TypeDir != 0 }
func (f *fid) isSymlink() bool { return f.qid.Type&p9.TypeSymlink != 0 }

// table is the fids of a session by their numbers, from one Tversion to the next.
type table struct {
	mu     sync.Mutex
	fids   map[uint32]*fid
	closed bool
}

// held is in the place of a fid that a request is about to make.
var held = new(fid)

func newTable() *table { return &table{fids: make(map[uint32]*fid)} }

// get finds a fid and takes a reference to it; nil when there is none.
func (t *table) get(num uint32) *fid {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.fids[num]
	if f == nil || f == held {
		return nil
	}
	return f.get()
}

// reserve keeps a number for the fid that a request will make, unless it was called off: then
// nobody would release it in time.
func (t *table) reserve(r *request, num uint32, most int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := r.live(); err != nil {
		return err
	}
	switch {
	case num == noFID, t.fids[num] != nil, t.closed:
		return linux.EINVAL
	case len(t.fids) >= most:
		return linux.ENFILE
	}
	t.fids[num] = held
	r.newFID, r.reserved = num, true
	return nil
}

// fill puts the fid in its place, with the reference of the caller. The request has been
// committed, so the place is still kept unless the session is over.
func (t *table) fill(r *request, f *fid) {
	t.mu.Lock()
	ok := r.reserved && !t.closed
	r.reserved = false
	if ok {
		t.fids[r.newFID] = f
	}
	t.mu.Unlock()
	if !ok {
		f.put()
	}
}

// release gives up what reserve kept, if it is still kept.
func (t *table) release(r *request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.reserved {
		r.reserved = false
		delete(t.fids, r.newFID)
	}
}

// replace puts a fid, with the reference of the caller, where old is. It fails when old is no
// longer there.
func (t *table) replace(num uint32, old, f *fid) bool {
	t.mu.Lock()
	ok := t.fids[num] == old
	if ok {
		t.fids[num] = f
	}
	t.mu.Unlock()
	if ok {
		old.put()
	} else {
		f.put()
	}
	return ok
}

// remove takes a fid out, with the reference that the table had.
func (t *table) remove(num uint32) *fid {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.fids[num]
	if f == nil || f == held {
		return nil
	}
	delete(t.fids, num)
	return f
}

// close lets go of all fids; none is added any more.
func (t *table) close() {
	t.mu.Lock()
	fids := t.fids
	t.fids, t.closed = nil, true
	t.mu.Unlock()
	for _, f := range fids {
		if f != held {
			f.put()
		}
	}
}

// fid finds the fid of a number that stands for a File.
func (r *request) fid(num uint32) (*fid, error) {
	f := r.table.get(num)
	if f == nil {
		return nil, linux.EBADF
	}
	if f.file == nil || f.xattr.Load() != nil {
		f.put()
		return nil, linux.EINVAL
	}
	return f, nil
}

// dir finds the fid of a number that stands for a directory. Linux may use one that is open.
func (r *request) dir(num uint32) (*fid, error) {
	f, err := r.fid(num)
	if err == nil && !f.isDir() {
		f.put()
		return nil, linux.ENOTDIR
	}
	return f, err
}
