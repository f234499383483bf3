package vhostusertest

import "encoding/binary"

// Request is the type of a message that a front-end sends.
type Request uint32

// The messages of a front-end.
const (
	GetFeatures         Request = 1
	SetFeatures         Request = 2
	SetOwner            Request = 3
	ResetOwner          Request = 4
	SetMemTable         Request = 5
	SetLogBase          Request = 6
	SetLogFD            Request = 7
	SetVringNum         Request = 8
	SetVringAddr        Request = 9
	SetVringBase        Request = 10
	GetVringBase        Request = 11
	SetVringKick        Request = 12
	SetVringCall        Request = 13
	SetVringErr         Request = 14
	GetProtocolFeatures Request = 15
	SetProtocolFeatures Request = 16
	GetQueueNum         Request = 17
	SetVringEnable      Request = 18
	SetBackendReqFD     Request = 21
	GetConfig           Request = 24
	SetConfig           Request = 25
	GetInflightFD       Request = 31
	SetInflightFD       Request = 32
	ResetDevice         Request = 34
	VringKick           Request = 35
	GetMaxMemSlots      Request = 36
	AddMemReg           Request = 37
	RemMemReg           Request = 38
	SetStatus           Request = 39
	GetStatus           Request = 40
)

// The messages of a back-end, on the channel of its own.
const (
	BackendConfigChange Request = 2
	BackendVringCall    Request = 4
	BackendVringErr     Request = 5
)

// Flags of a message.
const (
	Version   uint32 = 1
	Reply     uint32 = 1 << 2
	NeedReply uint32 = 1 << 3
)

// Protocol is a set of protocol features.
type Protocol uint64

// The protocol features that have a meaning here.
const (
	MQ             Protocol = 1 << 0
	LogShmFD       Protocol = 1 << 1
	ReplyAck       Protocol = 1 << 3
	BackendReq     Protocol = 1 << 5
	Config         Protocol = 1 << 9
	BackendSendFD  Protocol = 1 << 10
	InflightShmFD  Protocol = 1 << 12
	DeviceReset    Protocol = 1 << 13
	InBandNotify   Protocol = 1 << 14
	MemSlots       Protocol = 1 << 15
	StatusProtocol Protocol = 1 << 16
)

// FeatureProtocol is the bit among the virtio features that says that there are protocol
// features.
const FeatureProtocol = 30

// NoFD in the payload of SET_VRING_KICK, _CALL and _ERR says that no descriptor comes with it.
const NoFD uint64 = 1 << 8

// All numbers are in the byte order of the machine.
var order = binary.NativeEndian

func u32s(v ...uint32) (p []byte) {
	for _, v := range v {
		p = order.AppendUint32(p, v)
	}
	return p
}

func u64s(v ...uint64) (p []byte) {
	for _, v := range v {
		p = order.AppendUint64(p, v)
	}
	return p
}
