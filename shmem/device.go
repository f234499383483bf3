package shmem

import (
	"encoding/binary"
	"unsafe"
)

// The block copies of Device memory. Go's copy and clear move the ends of a block with
// unaligned accesses and clear whole cache lines with DC ZVA, both of which fault there; so
// every access to the shared side is spelled out here, one naturally aligned word at a time.
// The private side is ordinary memory and may have any alignment. They are functions of their
// own so that TestLanes_ARM64Disassembly can look at what the compiler made of them.

// readDevice fills p from src.
func (r *Region) readDevice(p []byte, src unsafe.Pointer) {
	for i, n := uint64(0), uint64(len(p)); i < n; {
		switch r.widest(unsafe.Add(src, i), n-i) {
		case 8:
			for ; i+8 <= n; i += 8 {
				binary.LittleEndian.PutUint64(p[i:i+8], *(*uint64)(r.word(src, i, 8)))
			}
		case 4:
			binary.LittleEndian.PutUint32(p[i:], *(*uint32)(r.word(src, i, 4)))
			i += 4
		case 2:
			binary.LittleEndian.PutUint16(p[i:], *(*uint16)(r.word(src, i, 2)))
			i += 2
		default:
			p[i] = *(*byte)(r.word(src, i, 1))
			i++
		}
	}
}

// writeDevice copies p to dst.
func (r *Region) writeDevice(dst unsafe.Pointer, p []byte) {
	for i, n := uint64(0), uint64(len(p)); i < n; {
		switch r.widest(unsafe.Add(dst, i), n-i) {
		case 8:
			for ; i+8 <= n; i += 8 {
				*(*uint64)(r.word(dst, i, 8)) = binary.LittleEndian.Uint64(p[i : i+8])
			}
		case 4:
			*(*uint32)(r.word(dst, i, 4)) = binary.LittleEndian.Uint32(p[i:])
			i += 4
		case 2:
			*(*uint16)(r.word(dst, i, 2)) = binary.LittleEndian.Uint16(p[i:])
			i += 2
		default:
			*(*byte)(r.word(dst, i, 1)) = p[i]
			i++
		}
	}
}

// zeroDevice clears n bytes at dst.
func (r *Region) zeroDevice(dst unsafe.Pointer, n uint64) {
	for i := uint64(0); i < n; {
		switch r.widest(unsafe.Add(dst, i), n-i) {
		case 8:
			for ; i+8 <= n; i += 8 {
				*(*uint64)(r.word(dst, i, 8)) = 0
			}
		case 4:
			*(*uint32)(r.word(dst, i, 4)) = 0
			i += 4
		case 2:
			*(*uint16)(r.word(dst, i, 2)) = 0
			i += 2
		default:
			*(*byte)(r.word(dst, i, 1)) = 0
			i++
		}
	}
}

// widest is the widest access in bytes that is aligned at p, at most n (which is not 0), and no
// wider than the bus.
func (r *Region) widest(p unsafe.Pointer, n uint64) uint64 {
	w := uint64(r.width)
	for w > n || uint64(uintptr(p))&(w-1) != 0 {
		w >>= 1
	}
	return w
}

// word is where an access of the given width goes; a strict Region looks at it first.
func (r *Region) word(p unsafe.Pointer, i, width uint64) unsafe.Pointer {
	p = unsafe.Add(p, i)
	if r.strict != nil {
		r.strict.check(r, p, width)
	}
	return p
}
