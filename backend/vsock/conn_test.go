package vsock

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

// dialed opens a connection from the host's side.
func (l *link) dialed(port uint32) *Conn {
	l.t.Helper()
	type result struct {
		c   *Conn
		err error
	}
	got := make(chan result)
	go func() {
		c, err := l.vsock.Dial(context.Background(), port)
		got <- result{c, err}
	}()
	p := l.expect(opRequest)
	assert.Equal(l.t, p.dstPort, port)
	p.src, p.dst, p.srcPort, p.dstPort, p.op = p.dst, p.src, p.dstPort, p.srcPort, opResponse
	p.alloc, p.header.forwarded = l.tell.window, 0
	l.send(p)
	r := <-got
	assert.NilError(l.t, r.err)
	l.t.Cleanup(func() { r.c.Close() })
	return r.c
}

func TestAddresses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{})
		c := l.accepted()
		assert.Equal(t, c.LocalAddr(), net.Addr(Addr{2, service}))
		assert.Equal(t, c.RemoteAddr().String(), "42:700")
		assert.Equal(t, c.RemoteAddr().Network(), "vsock")
		assert.Equal(t, c.Type().String(), "stream")
		d := l.dialed(9)
		assert.Equal(t, d.RemoteAddr(), net.Addr(Addr{guest, 9}))
		assert.Assert(t, d.LocalAddr().(Addr).Port >= firstPort)
	})
}

func TestDeadlines(t *testing.T) {
	const soon = 5 * time.Second
	timeout := func(t *testing.T, err error) {
		t.Helper()
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		var ne net.Error
		assert.Assert(t, errors.As(err, &ne) && ne.Timeout())
	}
	t.Run("read", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{})
			c := l.accepted()
			begin := time.Now()
			for range 2 { // the timer is used again
				c.SetReadDeadline(time.Now().Add(soon))
				_, err := c.Read(make([]byte, 1))
				timeout(t, err)
			}
			assert.Equal(t, time.Since(begin), 2*soon)
			l.send(l.from(opData, "x"))
			_, err := c.Read(make([]byte, 1))
			timeout(t, err) // whatever there is
			c.SetReadDeadline(time.Time{})
			n, err := c.Read(make([]byte, 1))
			assert.NilError(t, err)
			assert.Equal(t, n, 1)
		})
	})
	t.Run("write", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{})
			c := l.accepted()
			c.SetWriteDeadline(time.Now().Add(soon))
			var both sync.WaitGroup
			for range 2 { // one of them waits for the other
				both.Go(func() {
					_, err := c.Write([]byte("x"))
					timeout(t, err)
				})
			}
			both.Wait()
			c.SetWriteDeadline(time.Time{})
			go c.Write([]byte("y"))
			assert.Equal(t, l.expect(opData).data, "y")
		})
	})
	t.Run("a write that was begun", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{})
			l.tell.window = 3
			c := l.accepted()
			c.SetWriteDeadline(time.Now().Add(soon))
			done := make(chan int)
			go func() {
				n, err := c.Write([]byte("12345"))
				timeout(t, err)
				done <- n
			}()
			assert.Equal(t, l.expect(opData).data, "123")
			assert.Equal(t, <-done, 3)
		})
	})
	t.Run("in the past, while somebody waits", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{})
			c := l.accepted()
			var both sync.WaitGroup
			both.Go(func() {
				_, err := c.Read(make([]byte, 1))
				timeout(t, err)
			})
			both.Go(func() {
				_, err := c.Write(make([]byte, 1))
				timeout(t, err)
			})
			synctest.Wait()
			c.SetDeadline(time.Unix(1, 0))
			both.Wait()
		})
	})
}

func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{})
		c := l.accepted()
		var both sync.WaitGroup
		both.Go(func() {
			_, err := c.Read(make([]byte, 1))
			assert.Check(t, is.ErrorIs(err, net.ErrClosed))
		})
		both.Go(func() {
			_, err := c.Write(make([]byte, 1))
			assert.Check(t, is.ErrorIs(err, net.ErrClosed))
		})
		synctest.Wait()
		assert.NilError(t, c.Close())
		both.Wait()
		for _, err := range []error{c.Close(), c.CloseRead(), c.CloseWrite(), c.SetDeadline(time.Time{})} {
			assert.ErrorIs(t, err, net.ErrClosed)
		}
		c.Reset() // too late
		assert.Equal(t, l.expect(opShutdown).flags, uint32(shutBoth))
		l.op(opReset, 0)
		assert.Equal(t, l.vsock.Stats().Conns, 0)
	})
}

// What arrived before the end can be read; then the error says whether it was a good end.
func TestEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		end   func(l *link)
		read  error
		write error
	}{
		{"shutdown", func(l *link) { l.op(opShutdown, shutBoth) }, io.EOF, syscall.EPIPE},
		{"reset", func(l *link) { l.op(opReset, 0) }, syscall.ECONNRESET, syscall.ECONNRESET},
		{"driver reset", func(l *link) { l.stop() }, syscall.ECONNRESET, syscall.ECONNRESET},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLink(t, Options{})
				c := l.accepted()
				l.send(l.from(opData, "last words"))
				written := make(chan error)
				go func() {
					_, err := c.Write([]byte("x"))
					written <- err
				}()
				synctest.Wait()
				tt.end(l)
				assert.ErrorIs(t, <-written, tt.write)
				b := make([]byte, 20)
				n, err := c.Read(b)
				assert.NilError(t, err)
				assert.Equal(t, string(b[:n]), "last words")
				_, err = c.Read(b)
				assert.ErrorIs(t, err, tt.read)
				assert.NilError(t, c.Close())
				if tt.name == "shutdown" {
					l.expect(opReset)
				}
				assert.Equal(t, l.vsock.Stats().Conns, 0)
			})
		})
	}
}

func TestDial(t *testing.T) {
	t.Run("no driver", func(t *testing.T) {
		d, err := New(Options{CID: guest})
		assert.NilError(t, err)
		_, err = d.Dial(t.Context(), 1)
		assert.ErrorIs(t, err, ErrNoDriver)
		assert.ErrorIs(t, err, syscall.ENETUNREACH)
	})
	t.Run("the driver goes", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{})
			failed := make(chan error)
			go func() {
				_, err := l.vsock.Dial(t.Context(), 1)
				failed <- err
			}()
			l.expect(opRequest)
			l.stop()
			assert.ErrorIs(t, <-failed, syscall.ECONNRESET)
			assert.Equal(t, l.vsock.Stats().Conns, 0)
		})
	})
	t.Run("no answer", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{})
			begin := time.Now()
			failed := make(chan error)
			go func() {
				_, err := l.vsock.Dial(t.Context(), 1)
				failed <- err
			}()
			l.expect(opRequest)
			assert.ErrorIs(t, <-failed, os.ErrDeadlineExceeded)
			assert.Equal(t, time.Since(begin), 2*time.Second)
			l.expect(opReset)
		})
	})
	t.Run("changed its mind", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{})
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error)
			go func() {
				_, err := l.vsock.Dial(ctx, 1)
				failed <- err
			}()
			p := l.expect(opRequest)
			cancel()
			assert.ErrorIs(t, <-failed, context.Canceled)
			_, err := l.vsock.Dial(ctx, 1)
			assert.ErrorIs(t, err, context.Canceled)
			l.expect(opReset)
			p.src, p.dst, p.srcPort, p.dstPort, p.op = p.dst, p.src, p.dstPort, p.srcPort, opResponse
			l.send(p) // too late
			l.expect(opReset)
		})
	})
}

func TestListener(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{})
		ln, err := l.vsock.Listen(service)
		assert.NilError(t, err)
		assert.Equal(t, ln.Addr().String(), "2:80")
		_, err = l.vsock.Listen(service)
		assert.ErrorIs(t, err, syscall.EADDRINUSE)
		other, err := l.vsock.ListenSeqpacket(service)
		assert.NilError(t, err)
		assert.NilError(t, other.Close())

		// Beyond the backlog connections are refused; Accept makes room.
		flood(l, backlog+3)
		assert.Equal(t, len(answers(l, backlog+3)), backlog)
		c, err := ln.Accept()
		assert.NilError(t, err)
		assert.Equal(t, c.RemoteAddr(), net.Addr(Addr{guest, 1000}))
		l.connect()

		waits := make(chan error)
		for range backlog {
			ln.Accept()
		}
		go func() {
			_, err := ln.Accept()
			waits <- err
		}()
		synctest.Wait()
		assert.NilError(t, ln.Close())
		assert.ErrorIs(t, <-waits, net.ErrClosed)
		assert.ErrorIs(t, ln.Close(), net.ErrClosed)
		p := l.from(opRequest, "")
		p.srcPort = 5
		l.send(p)
		assert.Equal(t, l.recv().String(), opName(opReset))
	})
}

// What was not accepted is reset with the listener.
func TestListenerClosesBacklog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{})
		ln, err := l.vsock.Listen(service)
		assert.NilError(t, err)
		l.connect()
		assert.NilError(t, ln.Close())
		l.expect(opReset)
		assert.Equal(t, l.vsock.Stats().Conns, 0)
	})
}

// A router or a service that panics costs one connection.
func TestServicePanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var m Mux
		m.Handle(service, func(net.Conn) { panic("out of order") })
		m.Via(81, RouterFunc(func(context.Context, Request) (func(*Conn), error) { panic("lost") }))
		m.Via(82, RouterFunc(func(context.Context, Request) (func(*Conn), error) { return nil, nil }))
		l := newLink(t, Options{Router: &m})
		for _, port := range []uint32{service, 81, 82} {
			p := l.from(opRequest, "")
			p.dstPort = port
			l.send(p)
			synctest.Wait()
			assert.Equal(t, l.recv().String(), opName(opReset))
		}
		l.stop()
		assert.Equal(t, l.vsock.Stats().Conns, 0)
		assert.Equal(t, l.vsock.Stats().Opened, uint64(1))
		assert.NilError(t, l.dev.Broken())
	})
}

func TestMux(t *testing.T) {
	refuse := func(err error) Router {
		return RouterFunc(func(context.Context, Request) (func(*Conn), error) { return nil, err })
	}
	var m Mux
	ask := func(port uint32, kind Type) error {
		_, err := m.Route(t.Context(), Request{Port: port, Type: kind})
		return err
	}
	assert.Equal(t, ask(1, Stream), ErrNoRoute)
	m.Handle(1, echo)
	m.Via(2, refuse(io.ErrNoProgress))
	m.Otherwise(refuse(io.ErrUnexpectedEOF))
	assert.NilError(t, ask(1, Stream))
	assert.Equal(t, ask(1, Seqpacket), ErrNoRoute)
	assert.Equal(t, ask(2, Stream), io.ErrNoProgress)
	assert.Equal(t, ask(3, Stream), io.ErrUnexpectedEOF)
	m.Handle(1, nil)
	m.Via(2, nil)
	assert.Equal(t, ask(1, Stream), io.ErrUnexpectedEOF)
	assert.Equal(t, ask(2, Stream), io.ErrUnexpectedEOF)
}

// Bytes come out as they went in, however they are cut: across the end of the ring, while it
// grows, and while what is in it is lent.
func TestRing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	s := &stock{limits: Options{Memory: 1 << 20, MaxConns: 1, Window: 1 << 20}}
	r := ring{stock: s}
	var want, got []byte
	next := byte(0)
	for range 20_000 {
		switch n := rnd.IntN(3000); {
		case rnd.IntN(3) > 0 && r.n+n < 64<<10:
			p := make([]byte, n)
			for i := range p {
				p[i], next = next, next*3+1
			}
			want = append(want, p...)
			if n > 0 {
				a, b := r.room(n, false)
				assert.Equal(t, len(a)+len(b), n)
				copy(b, p[copy(a, p):])
				r.filled(n)
			}
		case r.n > 0 && rnd.IntN(2) == 0:
			a, b := r.peek()
			got = append(append(got, a...), b...)
			k := r.n
			if rnd.IntN(2) == 0 { // more comes meanwhile
				x, y := r.room(4096, false)
				clear(x)
				clear(y)
				r.filled(4096)
				want = append(want, make([]byte, 4096)...)
			}
			r.unpeek(k)
		default:
			p := make([]byte, n)
			got = append(got, p[:r.read(p)]...)
		}
	}
	p := make([]byte, r.n)
	got = append(got, p[:r.read(p)]...)
	assert.Assert(t, bytes.Equal(got, want))
	assert.Assert(t, r.buf == nil)
	seen := make(map[*byte]bool)
	for _, l := range s.idle {
		for _, b := range l {
			assert.Assert(t, !seen[&b[0]], "memory was given back twice")
			seen[&b[0]] = true
		}
	}
}
