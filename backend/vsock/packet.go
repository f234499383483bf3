package vsock

import "encoding/binary"

// Type is the kind of a connection (5.10.6).
type Type uint16

// The kinds of connection.
const (
	Stream    Type = 1 // a stream of bytes
	Seqpacket Type = 2 // messages, whole and in order
)

// String is the name of the type.
func (t Type) String() string {
	switch t {
	case Stream:
		return "stream"
	case Seqpacket:
		return "seqpacket"
	}
	return "unknown"
}

// Operations (5.10.6).
const (
	opRequest       = 1
	opResponse      = 2
	opReset         = 3
	opShutdown      = 4
	opData          = 5 // RW
	opCreditUpdate  = 6
	opCreditRequest = 7
)

// Flags of a packet: of SHUTDOWN (5.10.6.5), and of RW in a SEQPACKET connection (5.10.6.6).
const (
	shutReceive = 1 << 0 // the sender will receive no more
	shutSend    = 1 << 1 // the sender will send no more
	shutBoth    = shutReceive | shutSend

	endOfMessage = 1 << 0
	endOfRecord  = 1 << 1 // MSG_EOR of POSIX
)

// hostCID is the address of this side (5.10.4).
const hostCID = 2

// headerLen is the length of the header in front of each packet's data (5.10.6).
const headerLen = 44

// header is what stands in front of each packet.
type header struct {
	src, dst         uint64 // CIDs
	srcPort, dstPort uint32
	len              uint32 // of the data
	kind             Type
	op               uint16
	flags            uint32
	alloc, forwarded uint32 // the sender's window, and what it has consumed
}

func (h *header) decode(b *[headerLen]byte) {
	le := binary.LittleEndian
	h.src, h.dst = le.Uint64(b[0:]), le.Uint64(b[8:])
	h.srcPort, h.dstPort, h.len = le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:])
	h.kind, h.op, h.flags = Type(le.Uint16(b[28:])), le.Uint16(b[30:]), le.Uint32(b[32:])
	h.alloc, h.forwarded = le.Uint32(b[36:]), le.Uint32(b[40:])
}

func (h *header) encode(b *[headerLen]byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], h.src)
	le.PutUint64(b[8:], h.dst)
	le.PutUint32(b[16:], h.srcPort)
	le.PutUint32(b[20:], h.dstPort)
	le.PutUint32(b[24:], h.len)
	le.PutUint16(b[28:], uint16(h.kind))
	le.PutUint16(b[30:], h.op)
	le.PutUint32(b[32:], h.flags)
	le.PutUint32(b[36:], h.alloc)
	le.PutUint32(b[40:], h.forwarded)
}
