package p9

import (
	"io"
	"math"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// write is Twrite fid[4] offset[8] count[4] data[count].
func (r *request) write() error {
	num, off, count := r.in.u32(), r.in.u64(), uint64(r.in.u32())
	if err := r.in.done(); err != nil {
		return err
	}
	size := uint64(r.size)
	if size == writeSize {
		// Zero-copy writes of Linux before 4.20 leave the data out of the size.
		size += r.message.Readable()
	}
	if count != 0 && count > size-writeSize || writeSize+count > uint64(r.msize) {
		return linux.EMSGSIZE
	}
	f := r.table.get(num)
	if f == nil {
		return linux.EBADF
	}
	defer f.put()
	if x := f.xattr.Load(); x != nil {
		return r.writeXattr(x, off, count)
	}
	switch {
	case off > math.MaxInt64-count:
		return linux.EFBIG
	case f.opened.Load() != opened || f.flags.Mode() == p9.ReadOnly:
		return linux.EBADF
	}
	f.rlock()
	defer f.runlock()
	var err error
	if f.vecOut != nil && count > 0 && r.message.Straight() {
		count, err = r.writeStraight(f, int64(off), count)
	} else {
		count, err = r.writeBounced(f, int64(off), count)
	}
	if err != nil {
		return err
	}
	r.session.dev.written.Add(count)
	r.out.u32(uint32(count))
	return nil
}

func (r *request) writeStraight(f *fid, off int64, n uint64) (uint64, error) {
	if !r.commit() {
		return 0, errDropped
	}
	done, err := r.io.move(f, off, n, r.message.Drain, r.io.drain)
	if err == nil && done == 0 {
		err = r.io.err
	}
	return done, err
}

// writeBounced copies the data out of the driver's memory first.
func (r *request) writeBounced(f *fid, off int64, n uint64) (done uint64, err error) {
	b := r.session.bounce()
	defer r.session.giveBounce(b)
	for first := true; first || done < n; first = false {
		if !r.commit() {
			return 0, errDropped
		}
		have := b[:min(n-done, uint64(len(b)))]
		if len(have) > 0 {
			if k, err := r.message.Read(have); err != nil && err != io.EOF {
				return 0, err
			} else if k < len(have) {
				return 0, linux.EMSGSIZE
			}
		}
		r.enter()
		k, err := f.file.WriteAt(have, off+int64(done))
		if k < 0 || k > len(have) {
			k, err = 0, linux.EIO
		}
		if done += uint64(k); err != nil && done == 0 {
			return 0, err
		}
		if err != nil || k < len(have) {
			break
		}
	}
	return done, nil
}

// writeXattr takes the next piece of a new attribute.
func (r *request) writeXattr(x *xattr, off, n uint64) error {
	if !x.create {
		return linux.EBADF
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if off != uint64(len(x.value)) || n > x.size-off {
		return linux.EINVAL
	}
	if !r.commit() {
		return errDropped
	}
	at := len(x.value)
	x.value = append(x.value, make([]byte, n)...)
	if k, err := r.message.Read(x.value[at:]); err != nil && err != io.EOF {
		return err
	} else if uint64(k) < n {
		x.value = x.value[:at]
		return linux.EMSGSIZE
	}
	r.out.u32(uint32(n))
	return nil
}
