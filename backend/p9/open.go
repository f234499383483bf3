package p9

import (
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// permissions are the permissions that a client may ask for: setuid, setgid and sticky among them.
const permissions = 07777

// lopen is Tlopen fid[4] flags[4].
func (r *request) lopen() error {
	num, flags := r.in.u32(), p9.OpenFlags(r.in.u32())
	if err := r.in.done(); err != nil {
		return err
	}
	f, err := r.fid(num)
	if err != nil {
		return err
	}
	defer f.put()
	switch {
	case f.isSymlink():
		return linux.ELOOP
	case f.isDir() && flags.Mode() != p9.ReadOnly:
		return linux.EISDIR
	case !f.opened.CompareAndSwap(unopened, opening):
		return linux.EBUSY
	}
	qid, unit, err := f.open(flags)
	if err != nil {
		return err
	}
	r.out.qid(qid)
	r.out.u32(r.unit(unit))
	return nil
}

// open opens the File of a fid that is opening.
func (f *fid) open(flags p9.OpenFlags) (qid p9.QID, unit uint32, err error) {
	ok := false
	defer func() {
		if ok {
			f.setOpen(flags)
		} else {
			f.opened.Store(unopened)
		}
	}()
	f.rlock()
	defer f.runlock()
	if !f.concurrent && f.dev.tree.deleted(f) {
		return qid, 0, linux.ENOENT
	}
	qid, unit, err = f.file.Open(flags)
	ok = err == nil
	return qid, unit, err
}

// unit is the iounit that a client is told: 0 leaves it to msize, and so does one that no
// message has room for.
func (r *request) unit(n uint32) uint32 {
	if n > r.msize-writeSize-1 {
		return 0
	}
	return n
}

// lcreate is Tlcreate fid[4] name[s] flags[4] mode[4] gid[4]: the fid of the directory becomes
// that of the new file, which is open.
func (r *request) lcreate() error {
	num := r.in.u32()
	name, bad := r.in.name()
	flags := p9.OpenFlags(r.in.u32())
	mode := p9.FileMode(r.in.u32() & permissions)
	gid := p9.GID(r.in.u32())
	f, err := r.maker(num, bad)
	if err != nil {
		return err
	}
	defer f.put()
	d := f.dev
	if f.opened.Load() != unopened {
		return linux.EBUSY
	}
	if err := d.room(); err != nil {
		return err
	}
	to, unit, err := func() (*fid, uint32, error) {
		f.lock()
		defer f.unlock()
		if err := r.changing(f); err != nil {
			return nil, 0, err
		}
		s := d.tree.name(f.node, name)
		file, qid, unit, err := f.file.Create(s, flags, mode, f.uid, gid)
		if err == nil && file == nil {
			err = linux.EIO
		}
		if err != nil {
			return nil, 0, err
		}
		to := d.newFid(file, qid, f.get(), d.tree.child(f.node, s), f.uid)
		to.setOpen(flags)
		return to, unit, nil
	}()
	if err != nil {
		return err
	}
	if !r.commit() {
		to.put()
		return errDropped
	}
	r.out.qid(to.qid)
	r.out.u32(r.unit(unit))
	if !r.table.replace(num, f, to) {
		return linux.EBADF
	}
	return nil
}

// fsync is Tfsync fid[4] datasync[4]; p9.File knows only the whole of it.
func (r *request) fsync() error {
	num := r.in.u32()
	if err := r.in.done(); err != nil {
		return err
	}
	f, err := r.fid(num)
	if err != nil {
		return err
	}
	defer f.put()
	if f.opened.Load() != opened {
		return linux.EBADF
	}
	f.rlock()
	defer f.runlock()
	return f.file.FSync()
}
