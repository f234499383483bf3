package vhostuser

import "fmt"

// payload is the shape of a request's payload.
type payload uint8

const (
	noPayload payload = iota
	u64Payload
	statePayload
	addrPayload
	tablePayload
	regionPayload
	configPayload
	inflightPayload
)

// The sizes of the shapes in bytes; the last is what precedes the bytes of a configuration space.
const (
	stateSize      = 8
	addrSize       = 40
	tableHead      = 8
	regionSize     = 32
	oneRegionSize  = 8 + regionSize
	inflightSize   = 20 // of which some front-ends send 24, padding included
	configHeadSize = 12
)

// rule is what a request has to look like.
type rule struct {
	name    string
	payload payload
	fds     fdRule
	offered protocolFeature // that it belongs to, or none
	// answered is whether the handler sends the answer itself, with a descriptor.
	answered bool
}

// ring reports whether the request is about one queue.
func (r rule) ring() bool {
	return r.payload == statePayload || r.payload == addrPayload || r.fds == vringFD
}

// fdRule says how many descriptors come with a request.
type fdRule uint8

const (
	noFD     fdRule = iota
	oneFD           // exactly one
	vringFD         // one, unless the payload says that there is none
	tableFDs        // one for each region
	maybeFD         // one or none
)

var rules = map[request]rule{
	getFeatures:         {name: "GET_FEATURES"},
	setFeatures:         {name: "SET_FEATURES", payload: u64Payload},
	setOwner:            {name: "SET_OWNER"},
	resetOwner:          {name: "RESET_OWNER"},
	setMemTable:         {name: "SET_MEM_TABLE", payload: tablePayload, fds: tableFDs},
	setVringNum:         {name: "SET_VRING_NUM", payload: statePayload},
	setVringAddr:        {name: "SET_VRING_ADDR", payload: addrPayload},
	setVringBase:        {name: "SET_VRING_BASE", payload: statePayload},
	getVringBase:        {name: "GET_VRING_BASE", payload: statePayload},
	setVringKick:        {name: "SET_VRING_KICK", payload: u64Payload, fds: vringFD},
	setVringCall:        {name: "SET_VRING_CALL", payload: u64Payload, fds: vringFD},
	setVringErr:         {name: "SET_VRING_ERR", payload: u64Payload, fds: vringFD},
	getProtocolFeatures: {name: "GET_PROTOCOL_FEATURES"},
	setProtocolFeatures: {name: "SET_PROTOCOL_FEATURES", payload: u64Payload},
	getQueueNum:         {name: "GET_QUEUE_NUM", offered: protoMQ},
	setVringEnable:      {name: "SET_VRING_ENABLE", payload: statePayload},
	setBackendReqFD:     {name: "SET_BACKEND_REQ_FD", fds: oneFD, offered: protoBackendReq},
	getConfig:           {name: "GET_CONFIG", payload: configPayload, offered: protoConfig},
	setConfig:           {name: "SET_CONFIG", payload: configPayload, offered: protoConfig},
	getInflightFD:       {name: "GET_INFLIGHT_FD", payload: inflightPayload, offered: protoInflight, answered: true},
	setInflightFD:       {name: "SET_INFLIGHT_FD", payload: inflightPayload, fds: oneFD, offered: protoInflight},
	resetDevice:         {name: "RESET_DEVICE", offered: protoResetDevice},
	vringKick:           {name: "VRING_KICK", payload: statePayload, offered: protoInband},
	getMaxMemSlots:      {name: "GET_MAX_MEM_SLOTS", offered: protoMemSlots},
	addMemReg:           {name: "ADD_MEM_REG", payload: regionPayload, fds: oneFD, offered: protoMemSlots},
	remMemReg:           {name: "REM_MEM_REG", payload: regionPayload, fds: maybeFD, offered: protoMemSlots},
	setStatus:           {name: "SET_STATUS", payload: u64Payload, offered: protoStatus},
	getStatus:           {name: "GET_STATUS", offered: protoStatus},
}

// message is a request taken apart; only the fields of its payload's shape are set.
type message struct {
	request  request
	u64      uint64
	index    uint32 // queue, of a state, an address, or a descriptor's u64
	num      uint32 // of a state
	noFD     bool   // of a descriptor's u64: there is none
	addr     ringAddr
	regions  []regionDesc
	config   configDesc
	inflight inflightDesc

	inflightSize int // of the payload, for an answer of the same size
}

// ringAddr is where a ring's parts are, in the front-end's own addresses.
type ringAddr struct{ desc, used, avail uint64 }

// regionDesc is one region of the memory table.
type regionDesc struct {
	guest  uint64 // as the driver knows it
	size   uint64
	user   uint64 // as the front-end knows it
	offset uint64 // into the file
}

// configDesc is a piece of the configuration space.
type configDesc struct {
	offset, size, flags uint32
	bytes               []byte
}

// inflightDesc is the area that keeps what is in flight.
type inflightDesc struct {
	size, offset uint64
	queues       uint16
	queueSize    uint16
}

// vringNoFD in the u64 of a descriptor's message says that it comes without.
const vringNoFD = 1 << 8

// parse takes a payload apart, which came with a number of descriptors. It checks what can be
// checked without knowing the device. The message refers to the payload.
func parse(r request, p []byte, fds int) (message, error) {
	m := message{request: r}
	rule, ok := rules[r]
	if !ok {
		return m, fmt.Errorf("%v is not known", r)
	}
	if !m.decode(rule.payload, p) {
		return m, fmt.Errorf("%v: payload of %d bytes", r, len(p))
	}
	want := 0
	switch rule.fds {
	case oneFD:
		want = 1
	case vringFD:
		m.index, m.noFD = uint32(m.u64&0xff), m.u64&vringNoFD != 0
		if !m.noFD {
			want = 1
		}
	case tableFDs:
		want = len(m.regions)
	case maybeFD:
		want = min(fds, 1)
	}
	if fds != want {
		return m, fmt.Errorf("%v: %d file descriptors where there should be %d", r, fds, want)
	}
	return m, nil
}

// decode reports whether the payload has its shape's size.
func (m *message) decode(shape payload, p []byte) bool {
	n := len(p)
	switch shape {
	case noPayload:
		return n <= 8 // some front-ends send a u64 that says nothing
	case u64Payload:
		if n != 8 {
			return false
		}
		m.u64 = le.Uint64(p)
	case statePayload:
		if n != stateSize {
			return false
		}
		m.index, m.num = le.Uint32(p), le.Uint32(p[4:])
	case addrPayload:
		if n != addrSize {
			return false
		}
		m.index = le.Uint32(p)
		m.addr = ringAddr{desc: le.Uint64(p[8:]), used: le.Uint64(p[16:]), avail: le.Uint64(p[24:])}
	case tablePayload:
		if n < tableHead {
			return false
		}
		// Some front-ends send room for more regions than there are.
		count := le.Uint32(p)
		if uint64(count)*regionSize > uint64(n-tableHead) {
			return false
		}
		for i := range int(count) {
			m.regions = append(m.regions, decodeRegion(p[tableHead+i*regionSize:]))
		}
	case regionPayload:
		if n != oneRegionSize {
			return false
		}
		m.regions = []regionDesc{decodeRegion(p[8:])}
	case configPayload:
		if n < configHeadSize {
			return false
		}
		m.config = configDesc{le.Uint32(p), le.Uint32(p[4:]), le.Uint32(p[8:]), p[configHeadSize:]}
		return uint64(m.config.size) == uint64(n-configHeadSize)
	case inflightPayload:
		if n < inflightSize || n > 24 {
			return false
		}
		m.inflightSize = n
		m.inflight = inflightDesc{le.Uint64(p), le.Uint64(p[8:]), le.Uint16(p[16:]), le.Uint16(p[18:])}
	}
	return true
}

func decodeRegion(p []byte) regionDesc {
	return regionDesc{guest: le.Uint64(p), size: le.Uint64(p[8:]), user: le.Uint64(p[16:]), offset: le.Uint64(p[24:])}
}
