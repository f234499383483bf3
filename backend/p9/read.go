package p9

import (
	"encoding/binary"
	"errors"
	"io"
	"math"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// data begins the answer to a read, which ends with finishData; in between the data are written.
func (r *request) data() error {
	_, err := r.message.Write(r.back[:readSize])
	return err
}

func (r *request) finishData(n uint64) error {
	h := r.back[:readSize]
	putHeader(h, readSize+uint32(n), r.typ+1, r.tag)
	binary.LittleEndian.PutUint32(h[headerSize:], uint32(n))
	if _, err := r.message.WriteAt(h, 0); err != nil {
		return err
	}
	r.answered = true
	return nil
}

// read is Tread fid[4] offset[8] count[4]. A count that is more than there is room for means as
// much as there is room for.
func (r *request) read() error {
	num, off, count := r.in.u32(), r.in.u64(), r.in.u32()
	if err := r.in.done(); err != nil {
		return err
	}
	f := r.table.get(num)
	if f == nil {
		return linux.EBADF
	}
	defer f.put()
	n := uint64(r.limit(count, readSize))
	if n == 0 && count > 0 { // no data would mean the end of the file
		return linux.ENOBUFS
	}
	if x := f.xattr.Load(); x != nil {
		return r.readXattr(x, off, n)
	}
	switch {
	case off > math.MaxInt64-n:
		return linux.EINVAL
	case f.isDir():
		return linux.EISDIR
	case f.opened.Load() != opened || f.flags.Mode() == p9.WriteOnly:
		return linux.EBADF
	}
	f.rlock()
	defer f.runlock()
	var err error
	if f.vecIn != nil && r.message.Straight() {
		n, err = r.readStraight(f, int64(off), n)
	} else {
		n, err = r.readBounced(f, int64(off), n)
	}
	if err != nil {
		return err
	}
	r.session.dev.read.Add(n)
	return r.finishData(n)
}

func (r *request) readStraight(f *fid, off int64, n uint64) (uint64, error) {
	if !r.commit() {
		return 0, errDropped
	}
	if err := r.data(); err != nil {
		return 0, err
	}
	done, err := r.io.move(f, off, n, r.message.Fill, r.io.fill)
	if err == nil && done == 0 && r.io.err != nil && !errors.Is(r.io.err, io.EOF) {
		err = r.io.err
	}
	return done, err
}

// readBounced reads into memory of the engine's own first. A File may take as long as it likes.
func (r *request) readBounced(f *fid, off int64, n uint64) (done uint64, err error) {
	b := r.session.bounce()
	defer r.session.giveBounce(b)
	if !r.commit() {
		return 0, errDropped
	}
	if err := r.data(); err != nil {
		return 0, err
	}
	for done < n {
		want := b[:min(n-done, uint64(len(b)))]
		r.enter()
		k, err := f.file.ReadAt(want, off+int64(done))
		if k < 0 || k > len(want) {
			k, err = 0, linux.EIO
		}
		if !r.commit() {
			return 0, errDropped
		}
		if k > 0 {
			if _, err := r.message.Write(want[:k]); err != nil {
				return 0, err
			}
			done += uint64(k)
		}
		if err != nil && done == 0 && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if err != nil || k < len(want) {
			break
		}
	}
	return done, nil
}

// readXattr reads the value of an attribute.
func (r *request) readXattr(x *xattr, off, n uint64) error {
	if x.create {
		return linux.EBADF
	}
	v := x.value[min(off, uint64(len(x.value))):]
	v = v[:min(n, uint64(len(v)))]
	if !r.commit() {
		return errDropped
	}
	if err := r.data(); err != nil {
		return err
	}
	if _, err := r.message.Write(v); err != nil {
		return err
	}
	return r.finishData(uint64(len(v)))
}
