package vhostuser

import (
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// maxFDs is more descriptors than the kernel passes with one message, so that none is ever
// dropped without our knowing.
const maxFDs = 253

// incoming is where messages come in, one at a time: what is read into it is overwritten by the
// next.
type incoming struct {
	sock    *net.UnixConn
	header  [headerSize]byte
	payload [maxPayload]byte
	oob     []byte
	fds     []int // of the message, -1 where somebody took it over
}

func newIncoming(sock *net.UnixConn) *incoming {
	return &incoming{sock: sock, oob: make([]byte, unix.CmsgSpace(4*maxFDs))}
}

// next reads a message; io.EOF when the front-end has hung up between two. The descriptors of
// the one before are closed.
func (in *incoming) next() (header, []byte, error) {
	in.drop()
	if err := in.fill(in.header[:]); err != nil {
		return header{}, nil, err
	}
	h, err := parseHeader(&in.header)
	if err != nil {
		return h, nil, err
	}
	p := in.payload[:h.size]
	if err := in.fill(p); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return h, nil, fmt.Errorf("%v: payload: %w", h.request, err)
	}
	return h, p, nil
}

var errCut = errors.New("more file descriptors than can be received")

// fill reads all of p, and whatever descriptors come with it.
func (in *incoming) fill(p []byte) error {
	for got := 0; got < len(p); {
		n, oobn, flags, _, err := in.sock.ReadMsgUnix(p[got:], in.oob)
		if oobn > 0 {
			in.collect(in.oob[:oobn])
		}
		switch {
		case errors.Is(err, io.EOF) && got > 0:
			return io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET):
			return io.EOF
		case err != nil:
			return err
		case flags&unix.MSG_CTRUNC != 0:
			return errCut
		}
		got += n
	}
	return nil
}

// collect takes the descriptors out of control messages; the kernel has made them ours already.
func (in *incoming) collect(oob []byte) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return // not what a kernel writes
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			in.fds = append(in.fds, fds...)
		}
	}
}

// take gives a descriptor of the message away.
func (in *incoming) take(i int) int {
	fd := in.fds[i]
	in.fds[i] = -1
	return fd
}

// drop closes what nobody took.
func (in *incoming) drop() {
	for _, fd := range in.fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	in.fds = in.fds[:0]
}
