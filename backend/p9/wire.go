package p9

import (
	"encoding/binary"
	"math"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// The messages of 9P2000.L by their type byte; the answer to type t is t+1.
const (
	msgRlerror      = 7
	msgTstatfs      = 8
	msgTlopen       = 12
	msgTlcreate     = 14
	msgTsymlink     = 16
	msgTmknod       = 18
	msgTrename      = 20
	msgTreadlink    = 22
	msgTgetattr     = 24
	msgTsetattr     = 26
	msgTxattrwalk   = 30
	msgTxattrcreate = 32
	msgTreaddir     = 40
	msgTfsync       = 50
	msgTlock        = 52
	msgTgetlock     = 54
	msgTlink        = 70
	msgTmkdir       = 72
	msgTrenameat    = 74
	msgTunlinkat    = 76
	msgTversion     = 100
	msgTauth        = 102
	msgTattach      = 104
	msgTflush       = 108
	msgTwalk        = 110
	msgTread        = 116
	msgTwrite       = 118
	msgTclunk       = 120
	msgTremove      = 122
)

const (
	headerSize = 7               // size[4] type[1] tag[2]
	errorSize  = headerSize + 4  // Rlerror
	readSize   = headerSize + 4  // Rread and Rreaddir without their data
	writeSize  = headerSize + 16 // Twrite without its data
	qidSize    = 13
	direntSize = qidSize + 8 + 1 + 2 // without the name

	noFID   = math.MaxUint32
	maxWalk = 16   // names in one Twalk (P9_MAXWELEM)
	maxName = 255  // bytes (NAME_MAX)
	maxPath = 4095 // bytes of a symbolic link (PATH_MAX less its NUL)
)

// minReply is the shortest answer that tells the client what was done, header included. A
// request that leaves no room for it is refused before it does anything.
var minReply = [256]uint8{
	msgTstatfs: 67, msgTlopen: 24, msgTlcreate: 24, msgTsymlink: 20, msgTmknod: 20, msgTrename: 7,
	msgTreadlink: 9, msgTgetattr: 160, msgTsetattr: 7, msgTxattrwalk: 15, msgTxattrcreate: 7,
	msgTreaddir: readSize, msgTfsync: 7, msgTlock: 8, msgTgetlock: 30, msgTlink: 7, msgTmkdir: 20,
	msgTrenameat: 7, msgTunlinkat: 7, msgTversion: 21, msgTattach: 20, msgTflush: 7, msgTwalk: 9,
	msgTread: readSize, msgTwrite: 11, msgTclunk: 7, msgTremove: 7,
}

// decoder takes the fields of a message that was copied out of the driver's memory. Reading
// beyond the end gives zeros and sets short.
type decoder struct {
	b     []byte
	short bool
}

var zeros [8]byte

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.short, d.b = true, nil
		return zeros[:min(n, len(zeros))]
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u8() uint8   { return d.take(1)[0] }
func (d *decoder) u16() uint16 { return binary.LittleEndian.Uint16(d.take(2)) }
func (d *decoder) u32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }

// str is a string[s]: valid until the request is over.
func (d *decoder) str() []byte {
	n := int(d.u16())
	if n > len(d.b) {
		d.short, d.b = true, nil
		return nil
	}
	return d.take(n)
}

// name is a str that has to be the name of one directory entry.
func (d *decoder) name() ([]byte, error) {
	s := d.str()
	return s, checkName(s)
}

// done is the error of a message whose fields go beyond its end.
func (d *decoder) done() error {
	if d.short {
		return linux.EBADMSG
	}
	return nil
}

// checkName lets no name pass that could mean anything but an entry of the directory it is
// looked up in.
func checkName(s []byte) error {
	switch {
	case len(s) > maxName:
		return linux.ENAMETOOLONG
	case len(s) == 0, string(s) == ".", string(s) == "..":
		return linux.EINVAL
	}
	for _, c := range s {
		if c == '/' || c == 0 {
			return linux.EINVAL
		}
	}
	return nil
}

// encoder appends the fields of an answer; what does not fit sets full.
type encoder struct {
	b    []byte
	full bool
}

func (e *encoder) room(n int) bool {
	if n > cap(e.b)-len(e.b) {
		e.full = true
	}
	return !e.full
}

func (e *encoder) u8(v uint8) {
	if e.room(1) {
		e.b = append(e.b, v)
	}
}

func (e *encoder) u16(v uint16) {
	if e.room(2) {
		e.b = binary.LittleEndian.AppendUint16(e.b, v)
	}
}

func (e *encoder) u32(v uint32) {
	if e.room(4) {
		e.b = binary.LittleEndian.AppendUint32(e.b, v)
	}
}

func (e *encoder) u64(v uint64) {
	if e.room(8) {
		e.b = binary.LittleEndian.AppendUint64(e.b, v)
	}
}

func (e *encoder) str(s string) {
	if len(s) > math.MaxUint16 || !e.room(2+len(s)) {
		e.full = true
		return
	}
	e.u16(uint16(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) qid(q p9.QID) {
	e.u8(uint8(q.Type))
	e.u32(q.Version)
	e.u64(q.Path)
}

// putHeader writes the header of a message of the given size.
func putHeader(p []byte, size uint32, typ uint8, tag uint16) {
	binary.LittleEndian.PutUint32(p, size)
	p[4] = typ
	binary.LittleEndian.PutUint16(p[5:], tag)
}
