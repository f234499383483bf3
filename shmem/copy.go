package shmem

import "unsafe"

// ReadAt copies len(p) bytes at off out of the Span; the range must lie inside. Each byte is
// read once.
func (s Span) ReadAt(p []byte, off uint64) {
	if len(p) == 0 {
		return
	}
	src := s.Slice(off, uint64(len(p)))
	if s.r.kind == Device {
		s.r.readDevice(p, src.p)
		return
	}
	copy(p, unsafe.Slice((*byte)(src.p), len(p)))
}

// WriteAt copies p into the Span at off; the range must lie inside. Each byte is written once,
// and no other byte is.
func (s Span) WriteAt(p []byte, off uint64) {
	if len(p) == 0 {
		return
	}
	dst := s.Slice(off, uint64(len(p)))
	if s.r.kind == Device {
		s.r.writeDevice(dst.p, p)
		return
	}
	copy(unsafe.Slice((*byte)(dst.p), len(p)), p)
}

// Zero clears n bytes at off; the range must lie inside. No other byte is written.
func (s Span) Zero(off, n uint64) {
	if n == 0 {
		return
	}
	dst := s.Slice(off, n)
	if s.r.kind == Device {
		s.r.zeroDevice(dst.p, n)
		return
	}
	clear(unsafe.Slice((*byte)(dst.p), n))
}
