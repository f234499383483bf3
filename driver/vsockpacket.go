package driver

import "encoding/binary"

// Features of a socket device (5.10.3).
const (
	vsockStream          = 0 // VIRTIO_VSOCK_F_STREAM
	vsockNoImpliedStream = 2 // VIRTIO_VSOCK_F_NO_IMPLIED_STREAM
)

// vsockHost is the CID of the other side (5.10.4).
const vsockHost = 2

// vsockOp is what a packet is for (5.10.6).
type vsockOp uint16

const (
	vsockRequest vsockOp = iota + 1
	vsockResponse
	vsockReset
	vsockShutdown
	vsockData
	vsockCreditUpdate
	vsockCreditRequest
)

// What the sender of a SHUTDOWN will not do any more (5.10.6.5).
const (
	vsockNoReceive = 1 << iota
	vsockNoSend
	vsockNothing = vsockNoReceive | vsockNoSend
)

// vsockStreamType is the type of connection that is known here.
const vsockStreamType = 1

// vsockHeader stands in front of each packet's data (5.10.6).
type vsockHeader struct {
	src, dst         uint64
	srcPort, dstPort uint32
	len              uint32
	kind             uint16
	op               vsockOp
	flags            uint32
	window           uint32 // buf_alloc
	forwarded        uint32 // fwd_cnt
}

const vsockHeaderLen = 44

func (h *vsockHeader) encode(b *[vsockHeaderLen]byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], h.src)
	le.PutUint64(b[8:], h.dst)
	le.PutUint32(b[16:], h.srcPort)
	le.PutUint32(b[20:], h.dstPort)
	le.PutUint32(b[24:], h.len)
	le.PutUint16(b[28:], h.kind)
	le.PutUint16(b[30:], uint16(h.op))
	le.PutUint32(b[32:], h.flags)
	le.PutUint32(b[36:], h.window)
	le.PutUint32(b[40:], h.forwarded)
}

func (h *vsockHeader) decode(b *[vsockHeaderLen]byte) {
	le := binary.LittleEndian
	h.src, h.dst = le.Uint64(b[0:]), le.Uint64(b[8:])
	h.srcPort, h.dstPort, h.len = le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:])
	h.kind, h.op, h.flags = le.Uint16(b[28:]), vsockOp(le.Uint16(b[30:])), le.Uint32(b[32:])
	h.window, h.forwarded = le.Uint32(b[36:]), le.Uint32(b[40:])
}
