package vhostusertest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Message is one message as it goes over the socket. Flags are sent as they are; Size, if not
// nil, is sent in the place of the payload's length.
type Message struct {
	Request Request
	Flags   uint32
	Size    *uint32
	Payload []byte
	Files   []*os.File // ancillary data; whoever received them closes them
}

// ErrRefused is the answer of a back-end that was asked for an acknowledgement and said no.
var ErrRefused = errors.New("the back-end says that it failed")

// Patience is how long a FrontEnd waits for an answer, and a Queue for a chain, if not told
// otherwise.
const Patience = 20 * time.Second

// FrontEnd is one connection to a back-end. Its methods are safe for concurrent use: one message
// and the answer to it at a time.
type FrontEnd struct {
	// Acked makes every message that has no answer of its own ask for an acknowledgement, which
	// is legal once REPLY_ACK was negotiated. Set it between messages.
	Acked bool
	// Patience is how long an answer may take; 0 means the package's.
	Patience time.Duration
	// Fuse, if not 0, is after how many messages from now on the connection is closed, the last
	// of them cut in half: the death of a front-end at a certain moment.
	Fuse int

	mu   sync.Mutex
	conn *net.UnixConn
}

// ErrAbsent says that nobody listens on a socket.
var ErrAbsent = errors.New("no back-end is there")

// DialOnce connects to the socket of a back-end; the error is ErrAbsent where there is none.
func DialOnce(path string) (*FrontEnd, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
	case err != nil:
		return nil, err
	}
	return &FrontEnd{conn: conn}, nil
}

// Dial is DialOnce for a back-end that need not be there yet: it tries again until the Patience
// of the package ends.
func Dial(path string) (*FrontEnd, error) {
	for end := time.Now().Add(Patience); ; time.Sleep(time.Millisecond) {
		fe, err := DialOnce(path)
		if !errors.Is(err, ErrAbsent) || time.Now().After(end) {
			return fe, err
		}
	}
}

// New makes a FrontEnd of one end of a socket pair, which remains the caller's.
func New(f *os.File) (*FrontEnd, error) {
	conn, err := fileConn(f)
	return &FrontEnd{conn: conn}, err
}

func fileConn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s is no unix socket", f.Name()), c.Close())
	}
	return conn, nil
}

// SocketPair is two connected stream sockets: one for New, one for a back-end.
func SocketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "front-end"), os.NewFile(uintptr(fds[1]), "back-end"), nil
}

// Close ends the connection. To the back-end it looks like the death of the front-end.
func (f *FrontEnd) Close() error { return f.conn.Close() }

// Send sends a message and waits for nothing.
func (f *FrontEnd) Send(m Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.send(m)
}

// SendBytes sends bytes that need not be a message.
func (f *FrontEnd) SendBytes(p []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.conn.Write(p)
	return err
}

// Receive waits for the next message of the back-end.
func (f *FrontEnd) Receive() (Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.receive()
}

// Closed waits for the back-end to end the connection and fails if it sends something first, or
// keeps the connection.
func (f *FrontEnd) Closed() error {
	m, err := f.Receive()
	switch {
	case err == nil:
		return fmt.Errorf("the back-end answered with message %d of %d bytes instead of closing the connection", m.Request, len(m.Payload))
	case Gone(err):
		return nil
	}
	return err
}

// Gone tells an error that means no more than that the other end has closed the connection, or
// died.
func Gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isReset(err)
}

// isReset tells a socket whose other end was closed while something was under way.
func isReset(err error) bool {
	return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// Ask sends a message and returns the answer, which has to be of the same type.
func (f *FrontEnd) Ask(m Message) (Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.send(m); err != nil {
		return Message{}, err
	}
	reply, err := f.receive()
	switch {
	case err != nil:
		return reply, fmt.Errorf("answer to message %d: %w", m.Request, err)
	case reply.Request != m.Request || reply.Flags != Version|Reply:
		closeAll(reply.Files)
		return reply, fmt.Errorf("answer to message %d is %d with flags %#x, want flags %#x", m.Request, reply.Request, reply.Flags, Version|Reply)
	}
	return reply, nil
}

// Tell sends a message that has no answer but, if wanted, an acknowledgement.
func (f *FrontEnd) Tell(r Request, payload []byte, files ...*os.File) error {
	m := Message{Request: r, Flags: Version, Payload: payload, Files: files}
	if !f.Acked {
		return f.Send(m)
	}
	m.Flags |= NeedReply
	v, err := f.askNumber(m)
	if err == nil && v != 0 {
		err = fmt.Errorf("message %d: %w: %d", r, ErrRefused, v)
	}
	return err
}

func (f *FrontEnd) askNumber(m Message) (uint64, error) {
	reply, err := f.Ask(m)
	if err != nil {
		return 0, err
	}
	closeAll(reply.Files)
	if len(reply.Payload) != 8 {
		return 0, fmt.Errorf("answer to message %d has %d bytes, want 8", m.Request, len(reply.Payload))
	}
	return order.Uint64(reply.Payload), nil
}

func (f *FrontEnd) deadline() time.Time {
	if f.Patience == 0 {
		return time.Now().Add(Patience)
	}
	return time.Now().Add(f.Patience)
}

func (f *FrontEnd) send(m Message) error {
	if err := f.conn.SetWriteDeadline(f.deadline()); err != nil {
		return err
	}
	if f.Fuse == 0 {
		return send(f.conn, m)
	}
	if f.Fuse--; f.Fuse > 0 {
		return send(f.conn, m)
	}
	return errors.Join(errFuse, m.sendHalf(f.conn), f.conn.Close())
}

var errFuse = errors.New("the front-end dies here")

func (f *FrontEnd) receive() (Message, error) {
	if err := f.conn.SetReadDeadline(f.deadline()); err != nil {
		return Message{}, err
	}
	return receive(f.conn)
}
