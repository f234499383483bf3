package vhostusertest

import (
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

const (
	headerBytes = 12
	maxPayload  = 1 << 12
	maxFiles    = 32
)

func (m Message) encode() []byte {
	size := uint32(len(m.Payload))
	if m.Size != nil {
		size = *m.Size
	}
	return append(u32s(uint32(m.Request), m.Flags, size), m.Payload...)
}

// sendHalf sends the first half of a message, descriptors included.
func (m Message) sendHalf(conn *net.UnixConn) error {
	p := m.encode()
	return sendBytes(conn, p[:len(p)/2], m.Files)
}

func send(conn *net.UnixConn, m Message) error { return sendBytes(conn, m.encode(), m.Files) }

func sendBytes(conn *net.UnixConn, p []byte, files []*os.File) error {
	return withDescriptors(files, nil, func(fds []int) error {
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		n, _, err := conn.WriteMsgUnix(p, rights, nil)
		if err == nil && n < len(p) {
			_, err = conn.Write(p[n:])
		}
		return err
	})
}

// withDescriptors keeps the files open, and in the mode they are in, while do uses their numbers.
func withDescriptors(files []*os.File, fds []int, do func([]int) error) error {
	if len(files) == 0 {
		return do(fds)
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = withDescriptors(files[1:], append(fds, int(fd)), do) })
	if err != nil {
		return err
	}
	return inner
}

func receive(conn *net.UnixConn) (m Message, err error) {
	var header [headerBytes]byte
	defer func() {
		if err != nil {
			closeAll(m.Files)
			m.Files = nil
		}
	}()
	if err := m.readFull(conn, header[:]); err != nil {
		return m, err
	}
	m.Request, m.Flags = Request(order.Uint32(header[:])), order.Uint32(header[4:])
	size := order.Uint32(header[8:])
	if size > maxPayload {
		return m, fmt.Errorf("message %d of %d bytes", m.Request, size)
	}
	m.Payload = make([]byte, size)
	err = m.readFull(conn, m.Payload)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return m, err
}

// readFull fills p and collects the descriptors that come along.
func (m *Message) readFull(conn *net.UnixConn, p []byte) error {
	for got := 0; got < len(p); {
		oob := make([]byte, unix.CmsgSpace(4*maxFiles))
		n, oobn, _, _, err := conn.ReadMsgUnix(p[got:], oob)
		if err != nil {
			return err
		}
		if err := m.collect(oob[:oobn]); err != nil {
			return err
		}
		if n == 0 {
			if got > 0 {
				return io.ErrUnexpectedEOF
			}
			return io.EOF
		}
		got += n
	}
	return nil
}

func (m *Message) collect(oob []byte) error {
	if len(oob) == 0 {
		return nil
	}
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return err
	}
	for _, c := range all {
		fds, err := unix.ParseUnixRights(&c)
		if err != nil {
			return err
		}
		for _, fd := range fds {
			m.Files = append(m.Files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
