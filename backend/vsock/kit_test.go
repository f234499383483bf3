package vsock_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/vsock"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
)

// Operations, not taken from what is tested.
const (
	request = iota + 1
	response
	reset
	shutdown
	data
	update
	creditRequest
)

// message is a packet between the driver's port 1000 and the host's port 7.
func message(toHost bool, kind, op uint16, flags uint32, text string) []byte {
	const cid = 3
	le := binary.LittleEndian
	src, dst, srcPort, dstPort := uint64(2), uint64(cid), uint32(7), uint32(1000)
	if toHost {
		src, dst, srcPort, dstPort = dst, src, dstPort, srcPort
	}
	p := le.AppendUint64(nil, src)
	p = le.AppendUint64(p, dst)
	p = le.AppendUint32(p, srcPort)
	p = le.AppendUint32(p, dstPort)
	p = le.AppendUint32(p, uint32(len(text)))
	p = le.AppendUint16(p, kind)
	p = le.AppendUint16(p, op)
	p = le.AppendUint32(p, flags)
	p = le.AppendUint32(p, 1<<16) // window
	p = le.AppendUint32(p, 0)     // consumed
	return append(p, text...)
}

// says is a packet of the driver's.
func says(kind, op uint16, flags uint32, text string) virtiotest.Request {
	return virtiotest.Request{Queue: 1, Readable: message(true, kind, op, flags, text)}
}

// hears is a packet of the device's, which comes because of those the driver sent.
func hears(kind, op uint16, flags uint32, text string) virtiotest.Request {
	want := message(false, kind, op, flags, text)
	return virtiotest.Request{
		Queue: 0, Writable: len(want) + 8,
		Stimulus: func() error { return nil },
		Check: func(got []byte) error {
			if len(got) < 44 {
				return fmt.Errorf("packet of %d bytes", len(got))
			}
			credit := string(got[36:44]) // the device's own
			if op != reset && binary.LittleEndian.Uint32(got[36:]) == 0 {
				return fmt.Errorf("no window in % x", got)
			}
			if string(got[:36])+credit+string(got[44:]) != string(want[:36])+credit+string(want[44:]) {
				return fmt.Errorf("% x, not % x", got, want)
			}
			return nil
		},
	}
}

func echo(c net.Conn) { io.Copy(c, c) }

func TestKit(t *testing.T) {
	const stream = 1
	virtiotest.TestBackend(t, func(t testing.TB) virtiotest.Subject {
		var m vsock.Mux
		m.Handle(7, echo)
		d, err := vsock.New(vsock.Options{CID: 3, Router: &m})
		assert.NilError(t, err)
		return virtiotest.Subject{
			Backend: d,
			Script: []virtiotest.Request{
				says(stream, request, 0, ""), hears(stream, response, 0, ""),
				says(stream, data, 0, "hello"), hears(stream, data, 0, "hello"),
				says(stream, creditRequest, 0, ""), hears(stream, update, 0, ""),
				says(stream, shutdown, 3, ""), hears(stream, reset, 0, ""),
				says(stream, data, 0, "x"), hears(stream, reset, 0, ""),
				says(9, request, 0, ""), hears(9, reset, 0, ""),
			},
		}
	})
}
