package p9

import (
	"bytes"
	"sync"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// maxValue is the most bytes of an attribute, or of a list of their names, that Linux knows
// (XATTR_SIZE_MAX, XATTR_LIST_MAX).
const maxValue = 64 << 10

// xattr is what a fid stands for that is an attribute and not a file.
type xattr struct {
	create bool
	size   uint64 // as the client announced it, or of value; counted in Device.xattrs

	mu    sync.Mutex // of value, where it is written
	value []byte     // grows with what is written, never by what was announced

	name  string
	flags p9.XattrFlags
}

// charge counts size bytes of values against the limit.
func (d *Device) charge(size uint64) error {
	switch {
	case size > maxValue:
		return linux.E2BIG
	case d.xattrs.Add(int64(size)) > int64(d.opts.MaxXattr):
		d.xattrs.Add(-int64(size))
		return linux.ENOMEM
	}
	return nil
}

// xattrwalk is Txattrwalk fid[4] newfid[4] name[s]: newfid becomes the value of the attribute,
// or the list of their names. It has nothing to do with the file any more.
func (r *request) xattrwalk() error {
	num, newnum := r.in.u32(), r.in.u32()
	name := r.in.str()
	if err := r.in.done(); err != nil {
		return err
	}
	if err := checkXattrName(name); err != nil && len(name) > 0 {
		return err
	}
	f, err := r.fid(num)
	if err != nil {
		return err
	}
	defer f.put()
	d := f.dev
	if err := r.table.reserve(r, newnum, d.opts.MaxFiles); err != nil {
		return err
	}
	value, err := f.xattrValue(name)
	if err != nil {
		return err
	}
	if err := d.charge(uint64(len(value))); err != nil {
		return err
	}
	to := &fid{dev: d}
	to.refs.Store(1)
	to.xattr.Store(&xattr{size: uint64(len(value)), value: value})
	if !r.commit() {
		to.put()
		return errDropped
	}
	r.out.u64(uint64(len(value)))
	r.table.fill(r, to)
	return nil
}

func (f *fid) xattrValue(name []byte) ([]byte, error) {
	f.rlock()
	defer f.runlock()
	if len(name) > 0 {
		return f.file.GetXattr(string(name))
	}
	names, err := f.file.ListXattrs()
	if err != nil {
		return nil, err
	}
	size := 0
	for _, s := range names {
		size += len(s) + 1
	}
	if size > maxValue {
		return nil, linux.E2BIG
	}
	list := make([]byte, 0, size)
	for _, s := range names {
		list = append(append(list, s...), 0)
	}
	return list, nil
}

// xattrcreate is Txattrcreate fid[4] name[s] attr_size[8] flags[4]: what is written to the fid
// from now on is the value, which is set when the fid is clunked.
func (r *request) xattrcreate() error {
	num := r.in.u32()
	name := r.in.str()
	size, flags := r.in.u64(), p9.XattrFlags(r.in.u32())
	if err := r.in.done(); err != nil {
		return err
	}
	if err := checkXattrName(name); err != nil {
		return err
	}
	f, err := r.fid(num)
	if err != nil {
		return err
	}
	defer f.put()
	if f.opened.Load() != unopened {
		return linux.EBUSY
	}
	if err := f.dev.charge(size); err != nil {
		return err
	}
	x := &xattr{create: true, size: size, name: string(name), flags: flags}
	if !r.commit() {
		f.dev.xattrs.Add(-int64(size))
		return errDropped
	}
	if !f.xattr.CompareAndSwap(nil, x) {
		f.dev.xattrs.Add(-int64(size))
		return linux.EBUSY
	}
	return nil
}

func checkXattrName(name []byte) error {
	switch {
	case len(name) > maxName:
		return linux.ERANGE
	case len(name) == 0, bytes.IndexByte(name, 0) >= 0:
		return linux.EINVAL
	}
	return nil
}

// commitXattr sets the attribute of a fid that was made for one. No value where one has to be
// replaced means that it is removed: so Linux says it.
func (f *fid) commitXattr() error {
	x := f.xattr.Load()
	if x == nil || !x.create {
		return nil
	}
	x.mu.Lock()
	value := x.value
	x.mu.Unlock()
	if uint64(len(value)) != x.size {
		return linux.EINVAL
	}
	f.rlock()
	defer f.runlock()
	if x.size == 0 && x.flags == p9.XattrReplace {
		return f.file.RemoveXattr(x.name)
	}
	return f.file.SetXattr(x.name, value, x.flags)
}
