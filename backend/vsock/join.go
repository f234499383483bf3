package vsock

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	hostvsock "github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

// Join returns a function that serves a connection by passing everything on to and from another
// one, half-closes included, until both directions are over; then it closes both. Streams
// only, unless the other one has messages, too. It is what a [Router] returns, or is called
// with a connection that was dialled; it returns when nothing more comes from host.
//
// A host that still talks when the driver has closed has [Options].Linger to read what the driver
// said last.
//
// A connection without traffic costs one goroutine, and no buffer if host is a socket of package
// net. A host that does not read fills the window of its own connection, and nothing else. A
// message of the host's that is larger than 64 KiB resets a [Seqpacket] connection.
func Join(host net.Conn) (serve func(*Conn)) {
	return func(c *Conn) {
		j := &joint{c: c, host: host}
		j.run()
	}
}

// joint is two connections passing on what they get. What the driver sends goes to the host
// straight out of the connection's memory, by a goroutine that is there while there is something.
type joint struct {
	c    *Conn
	host net.Conn

	// Of c.mu.
	draining    bool
	toHostOver  bool
	toGuestOver bool
	hostEnded   bool // nothing more comes from it

	drain   func() // made once: a go statement on it allocates nothing
	vec     net.Buffers
	pieces  [2][]byte
	closing sync.Once

	raw   syscall.RawConn // nil: host is but a net.Conn
	look  func(fd uintptr) bool
	buf   []byte
	large bool // it is one that was promised
	n     int
	err   error
}

// chunk is how much is read from the host at a time.
const chunk = 64 << 10

func (j *joint) run() {
	j.drain = j.toHost
	c := j.c
	c.mu.Lock()
	c.hook = j.kick
	j.kick()
	c.mu.Unlock()
	j.toGuest()
}

// kick has what is there passed on. Callers hold c.mu.
func (j *joint) kick() {
	if c := j.c; c.phase == done && c.why != io.EOF {
		j.close(true) // what is left is of no use to the host
		return
	}
	if j.draining || j.toHostOver || !j.c.arrived() && j.c.readError() == nil {
		return
	}
	j.draining = true
	go j.drain()
}

// toHost passes on what the driver has sent.
func (j *joint) toHost() {
	c := j.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.arrived() {
		n, err := j.write()
		c.consumed(n)
		if err != nil {
			j.over(&j.toHostOver)
			j.close(true)
			return
		}
	}
	j.draining = false
	switch err := c.readError(); {
	case err == nil:
		return
	case err != io.EOF:
		j.over(&j.toHostOver)
		j.close(true)
		return
	}
	c.mu.Unlock()
	if h, ok := j.host.(interface{ CloseWrite() error }); ok {
		h.CloseWrite()
	}
	c.mu.Lock()
	j.over(&j.toHostOver)
	if c.phase == done { // the driver takes nothing either
		j.close(false)
	}
}

// write passes on what is there. Callers hold c.mu, which is not held while the host takes it.
func (j *joint) write() (n int, err error) {
	c := j.c
	if c.kind == Seqpacket {
		whole, _ := c.in.message()
		b := c.in.stock.get(whole)
		c.in.copy(b[:whole])
		c.in.take(whole)
		c.messages--
		c.underway = whole
		c.mu.Unlock()
		_, err = j.host.Write(b[:whole])
		c.in.stock.put(b)
		c.mu.Lock()
		c.underway = 0
		return whole, err
	}
	j.pieces[0], j.pieces[1] = c.in.peek()
	c.mu.Unlock()
	if len(j.pieces[1]) == 0 {
		n, err = j.host.Write(j.pieces[0])
	} else {
		j.vec = j.pieces[:]
		var k int64
		k, err = j.vec.WriteTo(j.host)
		n = int(k)
	}
	c.mu.Lock()
	c.in.unpeek(n)
	return n, err
}

// toGuest passes on what the host sends.
func (j *joint) toGuest() {
	c := j.c
	j.raw = rawConn(j.host)
	j.look = j.tryRead
	for {
		n, err := j.read()
		if n > 0 {
			_, werr := c.Write(j.buf[:n])
			if werr != nil {
				err = werr
			}
		}
		j.putBuffer()
		if err == nil {
			continue
		}
		if err == io.EOF {
			c.CloseWrite()
		}
		c.mu.Lock()
		j.hostEnded = err == io.EOF
		// A driver that will read no more may go on to write, or what it wrote may still be on its
		// way; anything else is the end.
		half := err == io.EOF || errors.Is(err, errPipe)
		j.over(&j.toGuestOver)
		if !half {
			j.close(true)
		}
		c.mu.Unlock()
		return
	}
}

// read waits for the host to send something, and takes a buffer only then.
func (j *joint) read() (n int, err error) {
	if j.raw == nil {
		j.buf = j.c.in.stock.get(minBuffer)
		return j.host.Read(j.buf)
	}
	if err := j.raw.Read(j.look); err != nil {
		return 0, err
	}
	switch {
	case j.err != nil:
		return 0, j.err
	case j.n == 0:
		return 0, io.EOF
	}
	return j.n, nil
}

func (j *joint) tryRead(fd uintptr) (done bool) {
	j.getBuffer()
	for {
		if j.c.kind == Seqpacket {
			j.n, _, j.err = unix.Recvfrom(int(fd), j.buf, unix.MSG_TRUNC) // the length it really has
		} else {
			j.n, j.err = unix.Read(int(fd), j.buf)
		}
		if j.err != unix.EINTR {
			break
		}
	}
	if j.n > len(j.buf) {
		j.n, j.err = 0, errTooLong
	}
	if j.err != unix.EAGAIN {
		return true
	}
	j.putBuffer()
	return false
}

// getBuffer takes a large buffer, or a small one where memory is short: a driver that takes
// nothing has all its connections wait with what they read.
func (j *joint) getBuffer() {
	s := j.c.in.stock
	if j.large = s.more(chunk); j.large || j.c.kind == Seqpacket {
		j.buf = s.get(chunk)
	} else {
		j.buf = s.get(minBuffer)
	}
}

func (j *joint) putBuffer() {
	if j.buf == nil {
		return
	}
	s := j.c.in.stock
	s.put(j.buf)
	j.buf = nil
	if j.large {
		s.less(chunk)
		j.large = false
	}
}

// rawConn is what a socket is read through when it has something, for those that do nothing of
// their own in Read.
func rawConn(host net.Conn) syscall.RawConn {
	switch host.(type) {
	case *net.TCPConn, *net.UnixConn, *hostvsock.Conn:
	default:
		return nil
	}
	raw, err := host.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// over notes that one direction is over, and with the second one all. Callers hold c.mu.
func (j *joint) over(direction *bool) {
	*direction = true
	if j.toHostOver && j.toGuestOver {
		j.close(false)
	}
}

// close ends both connections, with a reset where something went wrong. Callers hold c.mu.
func (j *joint) close(broken bool) {
	hostEnded := j.hostEnded
	j.closing.Do(func() {
		go func() { // it may wait, and c.mu is held
			switch {
			case broken:
				if tcp, ok := j.host.(*net.TCPConn); ok {
					tcp.SetLinger(0)
				}
			case !hostEnded:
				j.hearOut()
			}
			j.host.Close()
			if broken {
				j.c.Reset()
			} else {
				j.c.Close()
			}
		}()
	})
}

// hearOut lets a host that is still talking read to the end: a socket that is closed with
// something unread may take with it what is on the way to the host.
func (j *joint) hearOut() {
	j.host.SetReadDeadline(time.Now().Add(j.c.d.opts.Linger))
	b := j.c.in.stock.get(minBuffer)
	defer j.c.in.stock.put(b)
	for err := error(nil); err == nil; {
		_, err = j.host.Read(b)
	}
}
