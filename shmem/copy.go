package shmem

import (
	"encoding/binary"
	"unsafe"
)

// ReadAt copies len(p) bytes at off out of the Span; the range must lie inside.
func (s Span) ReadAt(p []byte, off uint64) {
	if len(p) == 0 {
		return
	}
	src := s.Slice(off, uint64(len(p)))
	if s.r.kind != Device {
		copy(p, unsafe.Slice((*byte)(src.p), len(p)))
		return
	}
	for len(p) > 0 {
		switch w := src.stride(uint64(len(p))); w {
		case 8:
			binary.LittleEndian.PutUint64(p, *(*uint64)(src.p))
			p, src = p[8:], src.step(8)
		case 4:
			binary.LittleEndian.PutUint32(p, *(*uint32)(src.p))
			p, src = p[4:], src.step(4)
		case 2:
			binary.LittleEndian.PutUint16(p, *(*uint16)(src.p))
			p, src = p[2:], src.step(2)
		default:
			p[0] = *(*byte)(src.p)
			p, src = p[1:], src.step(1)
		}
	}
}

// WriteAt copies p into the Span at off; the range must lie inside.
func (s Span) WriteAt(p []byte, off uint64) {
	if len(p) == 0 {
		return
	}
	dst := s.Slice(off, uint64(len(p)))
	if s.r.kind != Device {
		copy(unsafe.Slice((*byte)(dst.p), len(p)), p)
		return
	}
	for len(p) > 0 {
		switch w := dst.stride(uint64(len(p))); w {
		case 8:
			*(*uint64)(dst.p) = binary.LittleEndian.Uint64(p)
			p, dst = p[8:], dst.step(8)
		case 4:
			*(*uint32)(dst.p) = binary.LittleEndian.Uint32(p)
			p, dst = p[4:], dst.step(4)
		case 2:
			*(*uint16)(dst.p) = binary.LittleEndian.Uint16(p)
			p, dst = p[2:], dst.step(2)
		default:
			*(*byte)(dst.p) = p[0]
			p, dst = p[1:], dst.step(1)
		}
	}
}

// Zero clears n bytes at off; the range must lie inside.
func (s Span) Zero(off, n uint64) {
	if n == 0 {
		return
	}
	dst := s.Slice(off, n)
	if s.r.kind != Device {
		clear(unsafe.Slice((*byte)(dst.p), n))
		return
	}
	for dst.n > 0 {
		switch w := dst.stride(dst.n); w {
		case 8:
			*(*uint64)(dst.p) = 0
			dst = dst.step(8)
		case 4:
			*(*uint32)(dst.p) = 0
			dst = dst.step(4)
		case 2:
			*(*uint16)(dst.p) = 0
			dst = dst.step(2)
		default:
			*(*byte)(dst.p) = 0
			dst = dst.step(1)
		}
	}
}

// stride is the widest access that is aligned at the start of the Span, at most n bytes, and
// no wider than the bus. The shared side alone decides: the private side is ordinary memory.
func (s Span) stride(n uint64) uint64 {
	w := uint64(s.r.width)
	for w > n || uintptr(s.p)&uintptr(w-1) != 0 {
		w >>= 1
	}
	if s.r.strict != nil {
		s.r.strict.note(uintptr(s.p)-uintptr(s.r.base), w)
	}
	return w
}

func (s Span) step(n uint64) Span { return Span{p: unsafe.Add(s.p, n), n: s.n - n, r: s.r} }
