package p9

import (
	"errors"
	"io"
	"math"

	"github.com/hugelgupf/p9/linux"
)

// listing is the answer to a Treaddir as it grows. It lives in its request.
type listing struct {
	out  encoder
	full bool // an entry did not fit: the client asks again from the last that did
	emit func(*Dirent) bool
}

func (l *listing) init() {
	l.emit = func(e *Dirent) bool {
		if !l.full && len(e.Name) <= math.MaxUint16 {
			l.full = !l.out.room(direntSize + len(e.Name))
		}
		if l.full {
			return false
		}
		l.out.qid(e.QID)
		l.out.u64(e.Offset)
		l.out.u8(uint8(e.Type))
		l.out.u16(uint16(len(e.Name)))
		l.out.b = append(l.out.b, e.Name...)
		return true
	}
}

// readdir is Treaddir fid[4] offset[8] count[4]. As with getdents(2), an answer without entries is
// the end of the directory; one entry that is larger than count is an error.
func (r *request) readdir() error {
	num, off, count := r.in.u32(), r.in.u64(), r.in.u32()
	if err := r.in.done(); err != nil {
		return err
	}
	f, err := r.fid(num)
	if err != nil {
		return err
	}
	defer f.put()
	switch {
	case !f.isDir():
		return linux.ENOTDIR
	case f.opened.Load() != opened:
		return linux.EBADF
	}
	b := r.session.bounce()
	defer r.session.giveBounce(b)
	limit := min(int(r.limit(count, readSize)), len(b))
	l := &r.list
	l.out, l.full = encoder{b: b[:0:limit]}, false
	err = l.fillFrom(f, off)
	p := l.out.b
	l.out.b = nil
	if len(p) == 0 {
		if err != nil {
			return err
		}
		if l.full {
			return linux.EINVAL
		}
	}
	if !r.commit() {
		return errDropped
	}
	if err := r.data(); err != nil {
		return err
	}
	if _, err := r.message.Write(p); err != nil {
		return err
	}
	return r.finishData(uint64(len(p)))
}

func (l *listing) fillFrom(f *fid, off uint64) error {
	f.rlock()
	defer f.runlock()
	if f.dir != nil {
		return l.ended(f.dir.EachDirent(off, l.emit))
	}
	// p9.File counts entries, and there are no more than this in what has room. They come
	// again if they do not fit.
	entries, err := f.file.Readdir(off, uint32(cap(l.out.b)/(direntSize+1))+1)
	var name []byte
	for i := range entries {
		e := &entries[i]
		name = append(name[:0], e.Name...)
		if !l.emit(&Dirent{QID: e.QID, Offset: e.Offset, Type: e.Type, Name: name}) {
			break
		}
	}
	return l.ended(err)
}

func (l *listing) ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
