package p9

import (
	"bytes"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// attach is Tattach fid[4] afid[4] uname[s] aname[s] n_uname[4]: the number fid becomes the
// root, or what lies at the path aname below it.
func (r *request) attach() error {
	num, afid := r.in.u32(), r.in.u32()
	r.in.str() // uname: n_uname says it in 9P2000.L
	aname := r.in.str()
	uid := p9.UID(r.in.u32())
	if err := r.in.done(); err != nil {
		return err
	}
	if afid != noFID {
		return linux.EINVAL // there is no authentication
	}
	d := r.session.dev
	if err := r.table.reserve(r, num, d.opts.MaxFiles); err != nil {
		return err
	}
	f, err := d.root(uid)
	if err != nil {
		return err
	}
	for len(aname) > 0 {
		var name []byte
		if name, aname, _ = bytes.Cut(aname, []byte("/")); len(name) == 0 {
			continue
		}
		if err := checkName(name); err != nil {
			f.put()
			return err
		}
		if f, err = f.onward(name); err != nil {
			return err
		}
	}
	if !r.commit() {
		f.put()
		return errDropped
	}
	r.out.qid(f.qid)
	r.table.fill(r, f)
	return nil
}

// root asks the Attacher for the root of the tree.
func (d *Device) root(uid p9.UID) (*fid, error) {
	if err := d.room(); err != nil {
		return nil, err
	}
	file, err := d.opts.Attacher.Attach()
	if err != nil {
		return nil, err
	}
	if file == nil {
		return nil, linux.EIO
	}
	d.tree.use(&d.tree.root)
	f := d.newFid(file, p9.QID{}, nil, &d.tree.root, uid)
	known := false
	defer func() {
		if !known {
			f.put()
		}
	}()
	f.rlock()
	defer f.runlock()
	if f.qid, _, _, err = file.GetAttr(p9.AttrMask{Mode: true}); err != nil {
		return nil, err
	}
	known = true
	return f, nil
}

// walk is Twalk fid[4] newfid[4] nwname[2] nwname*(wname[s]).
func (r *request) walk() error {
	num, newnum, n := r.in.u32(), r.in.u32(), int(r.in.u16())
	if n > maxWalk {
		return linux.EINVAL
	}
	var names [maxWalk][]byte
	for i := range n {
		var err error
		if names[i], err = r.in.name(); err != nil {
			return err
		}
	}
	if err := r.in.done(); err != nil {
		return err
	}
	f, err := r.fid(num)
	if err != nil {
		return err
	}
	defer f.put()
	if num == newnum {
		if f.opened.Load() != unopened {
			return linux.EBUSY
		}
	} else if err := r.table.reserve(r, newnum, r.session.dev.opts.MaxFiles); err != nil {
		return err
	}
	var to *fid
	done := 0
	r.out.u16(0)
	if n == 0 {
		if to, err = f.clone(); err != nil {
			return err
		}
	} else if to, done, err = r.steps(f, names[:n]); done == 0 {
		return err
	}
	if uint64(len(r.out.b)) > r.room { // newfid would be made, and nobody told
		if to != nil {
			to.put()
		}
		return linux.ENOBUFS
	}
	if !r.commit() {
		if to != nil {
			to.put()
		}
		return errDropped
	}
	switch {
	case to == nil: // only part of the way: newfid is not made
		r.table.release(r)
	case num == newnum:
		if !r.table.replace(num, f, to) {
			return linux.EBADF
		}
	default:
		r.table.fill(r, to)
	}
	return nil
}

// steps goes as far as it can, and writes the QIDs behind their number. With an error there is no
// fid.
func (r *request) steps(from *fid, names [][]byte) (at *fid, done int, err error) {
	count := r.out.b[headerSize:]
	at = from.get()
	for _, name := range names {
		if at, err = at.onward(name); err != nil {
			return nil, done, err
		}
		done++
		count[0] = byte(done)
		r.out.qid(at.qid)
	}
	return at, done, nil
}

// onward is step that gives up the reference to where it came from.
func (f *fid) onward(name []byte) (*fid, error) {
	defer f.put() // whatever the File does
	return f.step(name)
}

// step walks one name. The new fid has the old one for its parent.
func (f *fid) step(name []byte) (*fid, error) {
	d := f.dev
	if !f.isDir() {
		return nil, linux.ENOTDIR
	}
	if err := d.room(); err != nil {
		return nil, err
	}
	f.rlock()
	defer f.runlock()
	if !f.concurrent && d.tree.deleted(f) {
		return nil, linux.ENOENT
	}
	s := d.tree.name(f.node, name)
	file, qid, err := f.ask(s)
	if err != nil {
		return nil, err
	}
	return d.newFid(file, qid, f.get(), d.tree.child(f.node, s), f.uid), nil
}

func (f *fid) ask(name string) (file p9.File, qid p9.QID, err error) {
	if f.stepper != nil {
		file, qid, err = f.stepper.Step(name)
	} else {
		var qids []p9.QID
		qids, file, err = f.file.Walk([]string{name})
		if err == nil && len(qids) != 1 {
			err = linux.EIO
		}
		if err == nil {
			qid = qids[0]
		} else if file != nil {
			f.dev.close(file)
		}
	}
	if err == nil && file == nil {
		err = linux.EIO
	}
	return file, qid, err
}

// clone makes another fid for the same place.
func (f *fid) clone() (*fid, error) {
	d := f.dev
	if err := d.room(); err != nil {
		return nil, err
	}
	f.rlock()
	defer f.runlock()
	_, file, err := f.file.Walk(nil)
	if err != nil {
		return nil, err
	}
	if file == nil {
		return nil, linux.EIO
	}
	n, parent := d.tree.another(f)
	return d.newFid(file, f.qid, parent, n, f.uid), nil
}

// clunk is Tclunk fid[4]. It is where a new extended attribute is set; a failure is told, but
// the fid is gone.
func (r *request) clunk() error {
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
	return f.commitXattr()
}
