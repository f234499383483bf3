package p9

import "github.com/hugelgupf/p9/linux"

// transfer is what Chain.Fill and Chain.Drain call.
type transfer = func(v [][]byte) (int, error)

// straight moves data between a file and the driver's memory, without a copy. It lives in its request, so that nothing is allocated.
type straight struct {
	fill, drain transfer
	file        *fid
	off         int64
	more        bool  // the file took or gave all it could
	err         error // of the file
}

func (s *straight) init() {
	s.fill = func(v [][]byte) (int, error) {
		n, err := s.file.vecIn.ReadVecAt(v, s.off)
		return s.count(v, n, err), nil
	}
	s.drain = func(v [][]byte) (int, error) {
		n, err := s.file.vecOut.WriteVecAt(v, s.off)
		return s.count(v, n, err), nil
	}
}

// count checks what a file says it did, and keeps its error out of the chain's affairs.
func (s *straight) count(v [][]byte, n int, err error) int {
	size := 0
	for _, b := range v {
		size += len(b)
	}
	if n > size || n < 0 && err == nil {
		n, err = 0, linux.EIO
	}
	s.err, s.more = err, n == size && err == nil
	s.off += int64(max(n, 0))
	return max(n, 0)
}

// move has via, which is Fill or Drain, call fill or drain until n bytes are done or the file has
// had enough. The error is the chain's; the file's is in err.
func (s *straight) move(f *fid, off int64, n uint64, via func(uint64, transfer) (int, error), fn transfer) (done uint64, err error) {
	s.file, s.off, s.err, s.more = f, off, nil, true
	defer func() { s.file = nil }()
	for done < n && s.more && err == nil {
		var k int
		k, err = via(n-done, fn)
		done += uint64(k)
	}
	return done, err
}
