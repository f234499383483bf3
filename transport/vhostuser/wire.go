package vhostuser

import (
	"encoding/binary"
	"fmt"
)

// A message is a header of three 32-bit words (request, flags, payload bytes), the payload, and
// descriptors beside it. Everything is in the machine's byte order, and both machines that
// package shmem compiles for are little-endian.
const (
	headerSize = 12
	// maxPayload is more than any message needs; a configuration space is the largest part.
	maxPayload = 4096

	version       = 1
	flagVersion   = 3
	flagReply     = 1 << 2
	flagNeedReply = 1 << 3
)

var le = binary.LittleEndian

// request is the number of a front-end's request.
type request uint32

const (
	getFeatures         request = 1
	setFeatures         request = 2
	setOwner            request = 3
	resetOwner          request = 4
	setMemTable         request = 5
	setVringNum         request = 8
	setVringAddr        request = 9
	setVringBase        request = 10
	getVringBase        request = 11
	setVringKick        request = 12
	setVringCall        request = 13
	setVringErr         request = 14
	getProtocolFeatures request = 15
	setProtocolFeatures request = 16
	getQueueNum         request = 17
	setVringEnable      request = 18
	setBackendReqFD     request = 21
	getConfig           request = 24
	setConfig           request = 25
	getInflightFD       request = 31
	setInflightFD       request = 32
	resetDevice         request = 34
	vringKick           request = 35
	getMaxMemSlots      request = 36
	addMemReg           request = 37
	remMemReg           request = 38
	setStatus           request = 39
	getStatus           request = 40
)

// Requests of the back-end, on the channel it was given for them.
const (
	configChangeMsg = 2
	vringCallMsg    = 4
	vringErrMsg     = 5
)

func (r request) String() string {
	if rule, ok := rules[r]; ok {
		return rule.name
	}
	return fmt.Sprintf("request %d", uint32(r))
}

// header is the head of a message.
type header struct {
	request request
	flags   uint32
	size    int
}

// parseHeader checks what a header alone can tell.
func parseHeader(p *[headerSize]byte) (header, error) {
	h := header{request: request(le.Uint32(p[0:])), flags: le.Uint32(p[4:])}
	size := le.Uint32(p[8:])
	switch {
	case h.flags&flagVersion != version:
		return h, fmt.Errorf("%v: version %d of the protocol", h.request, h.flags&flagVersion)
	case h.flags&flagReply != 0:
		return h, fmt.Errorf("%v: a reply, where nothing was asked", h.request)
	case size > maxPayload:
		return h, fmt.Errorf("%v: payload of %d bytes", h.request, size)
	}
	h.size = int(size)
	return h, nil
}

// putHeader writes the head of a message of ours.
func putHeader(p []byte, r uint32, flags uint32, size int) {
	le.PutUint32(p[0:], r)
	le.PutUint32(p[4:], flags)
	le.PutUint32(p[8:], uint32(size))
}
