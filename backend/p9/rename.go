package p9

import (
	"github.com/hugelgupf/p9/linux"
)

// renameat is Trenameat olddirfid[4] oldname[s] newdirfid[4] newname[s].
func (r *request) renameat() error {
	oldnum := r.in.u32()
	oldname, bad := r.in.name()
	newnum := r.in.u32()
	newname, worse := r.in.name()
	if bad == nil {
		bad = worse
	}
	from, err := r.maker(oldnum, bad)
	if err != nil {
		return err
	}
	defer from.put()
	to, err := r.dir(newnum)
	if err != nil {
		return err
	}
	defer to.put()
	free := from.concurrent && to.concurrent
	t := &from.dev.tree
	if !free {
		t.global.Lock()
		defer t.global.Unlock()
	}
	return r.move(from, oldname, to, newname, free)
}

// rename is Trename fid[4] dfid[4] name[s].
func (r *request) rename() error {
	num, dirnum := r.in.u32(), r.in.u32()
	name, bad := r.in.name()
	if err := r.in.done(); err != nil {
		return err
	}
	if bad != nil {
		return bad
	}
	f, err := r.fid(num)
	if err != nil {
		return err
	}
	defer f.put()
	to, err := r.dir(dirnum)
	if err != nil {
		return err
	}
	defer to.put()
	return f.inPlace(to, func(dir *fid, oldname string, free bool) error {
		return r.move(dir, []byte(oldname), to, name, free)
	})
}

// unlinkat is Tunlinkat dirfd[4] name[s] flags[4].
func (r *request) unlinkat() error {
	num := r.in.u32()
	name, bad := r.in.name()
	flags := r.in.u32()
	f, err := r.maker(num, bad)
	if err != nil {
		return err
	}
	defer f.put()
	t := &f.dev.tree
	f.lock()
	defer f.unlock()
	if err := r.changing(f); err != nil {
		return err
	}
	if !f.concurrent {
		// Nothing may be under way on what goes.
		if n := t.existing(f.node, name); n != nil {
			defer t.release(n)
			n.op.Lock()
			defer n.op.Unlock()
		}
	}
	if err := f.file.UnlinkAt(string(name), flags); err != nil {
		return err
	}
	t.remove(f.node, name)
	return nil
}

// remove is Tremove fid[4]: the fid is gone in any case.
func (r *request) remove() error {
	num := r.in.u32()
	if err := r.in.done(); err != nil {
		return err
	}
	if !r.commit() {
		return errDropped
	}
	f := r.table.remove(num)
	if f == nil {
		return linux.EBADF
	}
	r.enter()
	defer f.put()
	if f.file == nil || f.xattr.Load() != nil {
		return linux.EINVAL
	}
	return f.inPlace(f, func(dir *fid, name string, _ bool) error {
		if err := dir.file.UnlinkAt(name, removeFlags(f)); err != nil {
			return err
		}
		dir.dev.tree.remove(dir.node, []byte(name))
		return nil
	})
}

// removeFlags is what UnlinkAt needs to be told: Tremove means either kind.
func removeFlags(f *fid) uint32 {
	const removeDir = 0x200 // AT_REMOVEDIR
	if f.isDir() {
		return removeDir
	}
	return 0
}

// inPlace calls fn with the directory of a fid and its name there, which stay so meanwhile:
// nothing else runs beside it. Where all files that are concerned, to among them, are Concurrent
// (free), nobody can promise that, so the name is tried once more: it has to lead to the same
// file.
func (f *fid) inPlace(to *fid, fn func(dir *fid, name string, free bool) error) error {
	t := &f.dev.tree
	dir, name, ok := t.place(f)
	free := ok && f.concurrent && dir.concurrent && to.concurrent
	if !free {
		if ok {
			dir.put()
		}
		t.global.Lock()
		defer t.global.Unlock()
		dir, name, ok = t.place(f)
	}
	if !ok {
		return linux.EINVAL
	}
	defer dir.put()
	if free {
		file, qid, err := dir.ask(name)
		if err != nil {
			return err
		}
		f.dev.close(file)
		if qid.Path != f.qid.Path || qid.Type != f.qid.Type {
			return linux.ENOENT
		}
	}
	return fn(dir, name, free)
}

// move renames, and tells the Files that care. Unless it is free of locks, the caller holds the
// global one.
func (r *request) move(f *fid, oldname []byte, to *fid, newname []byte, free bool) error {
	t := &f.dev.tree
	if err := r.live(); err != nil {
		return err
	}
	if !free && (t.deleted(f) || t.deleted(to)) {
		return linux.ENOENT
	}
	if err := f.file.RenameAt(string(oldname), to.file, string(newname)); err != nil {
		return err
	}
	tell, old := t.move(f.node, oldname, to, newname)
	for _, o := range old {
		o.put()
	}
	if len(tell) == 0 {
		return nil
	}
	if free { // Files among them that are not Concurrent, below one that is
		t.global.Lock()
		defer t.global.Unlock()
	}
	defer func() {
		for _, n := range tell {
			n.dir.put()
			n.file.put()
		}
	}()
	for _, n := range tell {
		n.file.file.Renamed(n.dir.file, n.name)
	}
	return nil
}
