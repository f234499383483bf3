package p9

import (
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// getattr is Tgetattr fid[4] request_mask[8].
func (r *request) getattr() error {
	num, mask := r.in.u32(), r.in.u64()
	if err := r.in.done(); err != nil {
		return err
	}
	f, err := r.fid(num)
	if err != nil {
		return err
	}
	defer f.put()
	f.rlock()
	qid, valid, attr, err := r.ask(f, wireMask(mask))
	if err != nil {
		return err
	}
	r.out.u64(maskBits(&valid))
	r.out.qid(qid)
	r.out.attr(&attr)
	return nil
}

func (r *request) ask(f *fid, mask p9.AttrMask) (p9.QID, p9.AttrMask, p9.Attr, error) {
	defer f.runlock()
	return f.file.GetAttr(mask)
}

func wireMask(m uint64) p9.AttrMask {
	return p9.AttrMask{
		Mode: m&0x1 != 0, NLink: m&0x2 != 0, UID: m&0x4 != 0, GID: m&0x8 != 0, RDev: m&0x10 != 0,
		ATime: m&0x20 != 0, MTime: m&0x40 != 0, CTime: m&0x80 != 0, INo: m&0x100 != 0,
		Size: m&0x200 != 0, Blocks: m&0x400 != 0, BTime: m&0x800 != 0, Gen: m&0x1000 != 0,
		DataVersion: m&0x2000 != 0,
	}
}

func maskBits(a *p9.AttrMask) (m uint64) {
	for i, set := range [...]bool{
		a.Mode, a.NLink, a.UID, a.GID, a.RDev, a.ATime, a.MTime, a.CTime, a.INo, a.Size, a.Blocks,
		a.BTime, a.Gen, a.DataVersion,
	} {
		if set {
			m |= 1 << i
		}
	}
	return m
}

// attr is the part of Rgetattr behind the QID.
func (e *encoder) attr(a *p9.Attr) {
	e.u32(uint32(a.Mode))
	e.u32(uint32(a.UID))
	e.u32(uint32(a.GID))
	for _, v := range [...]uint64{
		uint64(a.NLink), uint64(a.RDev), a.Size, a.BlockSize, a.Blocks,
		a.ATimeSeconds, a.ATimeNanoSeconds, a.MTimeSeconds, a.MTimeNanoSeconds,
		a.CTimeSeconds, a.CTimeNanoSeconds, a.BTimeSeconds, a.BTimeNanoSeconds,
		a.Gen, a.DataVersion,
	} {
		e.u64(v)
	}
}

// setattr is Tsetattr fid[4] valid[4] mode[4] uid[4] gid[4] size[8] atime[8+8] mtime[8+8]. A file
// that was unlinked can have it done as long as a fid stands for it.
func (r *request) setattr() error {
	num, m := r.in.u32(), r.in.u32()
	valid := p9.SetAttrMask{
		Permissions: m&0x1 != 0, UID: m&0x2 != 0, GID: m&0x4 != 0, Size: m&0x8 != 0,
		ATime: m&0x10 != 0, MTime: m&0x20 != 0, CTime: m&0x40 != 0,
		ATimeNotSystemTime: m&0x80 != 0, MTimeNotSystemTime: m&0x100 != 0,
	}
	attr := p9.SetAttr{
		Permissions: p9.FileMode(r.in.u32() & permissions), UID: p9.UID(r.in.u32()), GID: p9.GID(r.in.u32()),
		Size: r.in.u64(), ATimeSeconds: r.in.u64(), ATimeNanoSeconds: r.in.u64(),
		MTimeSeconds: r.in.u64(), MTimeNanoSeconds: r.in.u64(),
	}
	if err := r.in.done(); err != nil {
		return err
	}
	f, err := r.fid(num)
	if err != nil {
		return err
	}
	defer f.put()
	f.lock()
	defer f.unlock()
	if err := r.live(); err != nil {
		return err
	}
	return f.file.SetAttr(valid, attr)
}

// statfs is Tstatfs fid[4].
func (r *request) statfs() error {
	num := r.in.u32()
	if err := r.in.done(); err != nil {
		return err
	}
	f, err := r.fid(num)
	if err != nil {
		return err
	}
	defer f.put()
	st, err := f.file.StatFS()
	if err != nil {
		return err
	}
	r.out.u32(st.Type)
	r.out.u32(st.BlockSize)
	for _, v := range [...]uint64{
		st.Blocks, st.BlocksFree, st.BlocksAvailable, st.Files, st.FilesFree, st.FSID,
	} {
		r.out.u64(v)
	}
	r.out.u32(st.NameLength)
	return nil
}

// readlink is Treadlink fid[4].
func (r *request) readlink() error {
	num := r.in.u32()
	if err := r.in.done(); err != nil {
		return err
	}
	f, err := r.fid(num)
	if err != nil {
		return err
	}
	defer f.put()
	if !f.isSymlink() {
		return linux.EINVAL
	}
	f.rlock()
	defer f.runlock()
	target, err := f.file.Readlink()
	if err != nil {
		return err
	}
	r.out.str(target)
	return nil
}
