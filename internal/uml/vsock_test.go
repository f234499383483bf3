package uml

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/vsock"
	"github.com/hypervisorless/virtio/internal/uml/talk"
)

// Linux's driver of socket devices in every way that its sockets know.
func TestUMLVsock(t *testing.T) {
	lanes(t, func(t *testing.T, l lane) {
		w, err := newTown()
		assert.NilError(t, err)
		ctx := within(t, patience)
		v := l.visit(ctx, t, l.attach(t, l.rig, w.Device))
		w.through(t, v, []part{
			{"both ways", bothDial}, {"messages", messages}, {"half-close", halfClose}, {"refused", refused}, {"forwards", forwards},
			{"last words", lastWords}, {"slow host", slowHost}, {"slow guest", slowGuest},
			{"many connections", func(t *testing.T, w *town, v visitor) { many(t, w, v, 1000) }}, {"much", much},
		})
		v.leave(t)
		s := w.Stats()
		t.Logf("%+v", s)
		assert.Equal(t, s.Violated, uint64(0))
		assert.Equal(t, s.Dropped, uint64(0))
	})
}

// part is something that a guest does in the town.
type part struct {
	name string
	run  func(t *testing.T, w *town, v visitor)
}

// through runs parts, until one fails: what comes after it may be in its way.
func (w *town) through(t *testing.T, v visitor, parts []part) {
	t.Helper()
	for _, p := range parts {
		if !t.Run(p.name, func(t *testing.T) {
			p.run(t, w, v)
			w.well(t, v)
		}) {
			t.FailNow()
		}
	}
}

// bothDial has each side connect to the other, which sends back what it gets at the same time.
func bothDial(t *testing.T, w *town, v visitor) {
	assert.NilError(t, v.do("chat", talk.VsockDo{Port: talk.PortEcho, Bytes: 1 << 20}, nil))
	assert.NilError(t, w.with(v.ctx, talk.PortEcho, func(c *vsock.Conn) error {
		assert.Equal(t, c.RemoteAddr(), vsock.Addr{CID: guestCID, Port: talk.PortEcho})
		return talk.Chat(c, 'h', 1<<20)
	}))
}

func messages(t *testing.T, w *town, v visitor) {
	assert.NilError(t, v.do("messages", talk.VsockDo{Port: talk.PortMessages}, nil))
	c, err := w.DialSeqpacket(v.ctx, talk.PortMessages)
	assert.NilError(t, err)
	defer c.Close()
	for _, end := range []bool{true, false} { // the guest gives it back as it is
		p := make([]byte, 8)
		_, err = c.WriteMessage([]byte("record"), end)
		assert.NilError(t, err)
		n, ended, err := c.ReadMessage(p)
		assert.NilError(t, err)
		assert.Equal(t, string(p[:n]), "record")
		assert.Equal(t, ended, end)
	}
	assert.NilError(t, talk.ChatMessages(c, 'h'))
}

// halfClose has each side say all, and then hear what the other has to say to that: as who
// connected, and as who was connected to.
func halfClose(t *testing.T, w *town, v visitor) {
	assert.NilError(t, v.do("ask", talk.VsockDo{Port: talk.PortAnswer, Bytes: asked}, nil))
	assert.NilError(t, v.do("answer", talk.VsockDo{Port: talk.PortAsk}, nil))
	assert.NilError(t, w.ask(v.ctx, talk.PortAnswer, asked))
	assert.NilError(t, w.with(v.ctx, talk.PortAsk, func(c *vsock.Conn) error { return talk.Answer(c) }))
}

// lastWords has each side write and close at once: the other still gets everything.
func lastWords(t *testing.T, w *town, v visitor) {
	w.drain = 200_000
	for range 20 {
		assert.NilError(t, v.do("pour", talk.VsockDo{Port: talk.PortDrain, Bytes: w.drain}, nil))
		<-w.drained
		assert.NilError(t, v.do("drain", talk.VsockDo{Port: talk.PortPour, Bytes: w.drain}, nil))
	}
}

// refused has each side connect to where nobody is.
func refused(t *testing.T, w *town, v visitor) {
	var name string
	assert.NilError(t, v.do("connect", talk.VsockDo{Port: talk.PortNobody}, &name))
	assert.Equal(t, name, "ECONNRESET") // as Linux puts it
	_, err := w.Dial(v.ctx, talk.PortNobody)
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	_, err = w.DialSeqpacket(v.ctx, talk.PortEcho)
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// forwards leads from a TCP port of the host's to the guest, and from the guest to one.
func forwards(t *testing.T, w *town, v visitor) {
	in, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- w.Forward(in, talk.PortAnswer) }()
	c, err := net.Dial("tcp", in.Addr().String())
	assert.NilError(t, err)
	defer c.Close()
	defer context.AfterFunc(v.ctx, func() { c.Close() })()
	assert.NilError(t, talk.Ask(c.(*net.TCPConn), 'h', asked))
	assert.NilError(t, in.Close())
	assert.NilError(t, <-ended)

	out, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	go func() {
		c, err := out.Accept()
		if err == nil {
			err = errors.Join(talk.Answer(c.(*net.TCPConn)), c.Close())
		}
		ended <- err
	}()
	w.mux.Via(talk.PortForward, vsock.TCP(out.Addr().String()))
	assert.NilError(t, v.do("ask", talk.VsockDo{Port: talk.PortForward, Bytes: asked}, nil))
	assert.NilError(t, <-ended)
	assert.NilError(t, out.Close())
	var name string // nobody is there any more
	assert.NilError(t, v.do("connect", talk.VsockDo{Port: talk.PortForward}, &name))
	assert.Equal(t, name, "ECONNRESET")
}

// slowHost does not read at first, and then little at a time; others are not disturbed.
func slowHost(t *testing.T, w *town, v visitor) {
	const n = 1 << 20
	assert.NilError(t, v.begin("fill", talk.VsockDo{Port: talk.PortLazy, Bytes: n}))
	var filled int
	assert.NilError(t, v.Await(v.ctx, "filled", &filled))
	t.Logf("the guest wrote %d bytes that nobody read", filled)
	assert.Check(t, filled > 0 && filled <= hostWindow, "%d bytes", filled)
	assert.NilError(t, w.ask(v.ctx, talk.PortAnswer, 1<<16))
	w.lazy <- struct{}{}
	assert.NilError(t, v.finish(nil))
}

// slowGuest does not read at first; others are not disturbed.
func slowGuest(t *testing.T, w *town, v visitor) {
	const n, linuxWindow = 1 << 20, 256 << 10
	assert.NilError(t, w.with(v.ctx, talk.PortLazy, func(c *vsock.Conn) error {
		asks := &patient{c: c, enough: make(chan int, 1)}
		end := make(chan error, 1)
		go func() { end <- talk.Ask(asks, 'h', n) }()
		filled := <-asks.enough
		t.Logf("the host wrote %d bytes that nobody read", filled)
		assert.Check(t, filled <= linuxWindow, "%d bytes", filled)
		assert.NilError(t, v.do("ask", talk.VsockDo{Port: talk.PortAnswer, Bytes: 1 << 16}, nil))
		assert.NilError(t, v.do("lazy", talk.VsockDo{}, nil))
		return <-end
	}))
}

// patient tells, once, how much was written when no more was taken for a while, and goes on.
type patient struct {
	c      *vsock.Conn
	enough chan int
	n      int
	told   bool
}

func (p *patient) Read(b []byte) (int, error) { return p.c.Read(b) }
func (p *patient) CloseWrite() error          { return p.c.CloseWrite() }

func (p *patient) Write(b []byte) (n int, err error) {
	for n < len(b) {
		if !p.told {
			_ = p.c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		}
		k, err := p.c.Write(b[n:])
		n += k
		p.n += k
		if errors.Is(err, os.ErrDeadlineExceeded) && !p.told {
			p.told = true
			p.enough <- p.n
			err = p.c.SetWriteDeadline(time.Time{})
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// many opens and closes connections: half of them are the guest's, one after the other, and half
// are the host's, some at a time.
func many(t *testing.T, w *town, v visitor, n int) {
	const atOnce = 10
	opened := w.Stats().Opened
	assert.NilError(t, v.begin("ask", talk.VsockDo{Port: talk.PortAnswer, Bytes: 100, Times: n / 2}))
	var failed [atOnce]error
	var all sync.WaitGroup
	for i := range failed {
		all.Go(func() {
			for range n / 2 / atOnce {
				if failed[i] == nil {
					failed[i] = w.ask(v.ctx, talk.PortAnswer, 100)
				}
			}
		})
	}
	all.Wait()
	assert.NilError(t, errors.Join(failed[:]...))
	assert.NilError(t, v.finish(nil))
	assert.Equal(t, w.Stats().Opened-opened, uint64(n))
}

// much moves many bytes, one way and then the other.
func much(t *testing.T, w *town, v visitor) {
	const n = 100 << 20
	begin := time.Now()
	assert.NilError(t, v.do("ask", talk.VsockDo{Port: talk.PortAnswer, Bytes: n}, nil))
	half := time.Now()
	assert.NilError(t, w.ask(v.ctx, talk.PortAnswer, n))
	t.Logf("%d bytes from the guest in %.2f s, to it in %.2f s", n, half.Sub(begin).Seconds(), time.Since(half).Seconds())
}
