package p9

import (
	"bytes"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// maker is the directory in which a request makes a name, once all of it was decoded; bad is
// what is wrong with the name.
func (r *request) maker(num uint32, bad error) (*fid, error) {
	if err := r.in.done(); err != nil {
		return nil, err
	}
	if bad != nil {
		return nil, bad
	}
	return r.dir(num)
}

// changing is what keeps a directory, whose lock is held, from being changed.
func (r *request) changing(f *fid) error {
	if !f.concurrent && f.dev.tree.deleted(f) {
		return linux.ENOENT
	}
	return r.live()
}

// making makes a name in a directory, and answers with the QID of what there is.
func (r *request) making(f *fid, fn func() (p9.QID, error)) error {
	f.lock()
	defer f.unlock()
	if err := r.changing(f); err != nil {
		return err
	}
	qid, err := fn()
	r.out.qid(qid)
	return err
}

// symlink is Tsymlink fid[4] name[s] symtgt[s] gid[4].
func (r *request) symlink() error {
	num := r.in.u32()
	name, bad := r.in.name()
	target := r.in.str()
	gid := p9.GID(r.in.u32())
	f, err := r.maker(num, bad)
	if err != nil {
		return err
	}
	defer f.put()
	switch {
	case len(target) == 0:
		return linux.ENOENT
	case len(target) > maxPath:
		return linux.ENAMETOOLONG
	case bytes.IndexByte(target, 0) >= 0:
		return linux.EINVAL
	}
	return r.making(f, func() (p9.QID, error) {
		return f.file.Symlink(string(target), string(name), f.uid, gid)
	})
}

// mknod is Tmknod dfid[4] name[s] mode[4] major[4] minor[4] gid[4].
func (r *request) mknod() error {
	num := r.in.u32()
	name, bad := r.in.name()
	mode := p9.FileMode(r.in.u32())
	major, minor := r.in.u32(), r.in.u32()
	gid := p9.GID(r.in.u32())
	f, err := r.maker(num, bad)
	if err != nil {
		return err
	}
	defer f.put()
	return r.making(f, func() (p9.QID, error) {
		return f.file.Mknod(string(name), mode, major, minor, f.uid, gid)
	})
}

// mkdir is Tmkdir dfid[4] name[s] mode[4] gid[4].
func (r *request) mkdir() error {
	num := r.in.u32()
	name, bad := r.in.name()
	mode := p9.FileMode(r.in.u32() & permissions)
	gid := p9.GID(r.in.u32())
	f, err := r.maker(num, bad)
	if err != nil {
		return err
	}
	defer f.put()
	return r.making(f, func() (p9.QID, error) {
		return f.file.Mkdir(string(name), mode, f.uid, gid)
	})
}

// link is Tlink dfid[4] fid[4] name[s].
func (r *request) link() error {
	num, target := r.in.u32(), r.in.u32()
	name, bad := r.in.name()
	f, err := r.maker(num, bad)
	if err != nil {
		return err
	}
	defer f.put()
	to, err := r.fid(target)
	if err != nil {
		return err
	}
	defer to.put()
	f.lock()
	defer f.unlock()
	if err := r.changing(f); err != nil {
		return err
	}
	return f.file.Link(to.file, string(name))
}
