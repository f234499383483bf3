package vsock

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	hostvsock "github.com/mdlayher/vsock"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

// exchange sends something large both ways at once over two connected ends, half-closes, and
// compares.
func exchange(t *testing.T, a, b net.Conn) {
	t.Helper()
	const size = 1 << 20
	rnd := rand.NewChaCha8([32]byte{1})
	var all sync.WaitGroup
	for _, d := range [][2]net.Conn{{a, b}, {b, a}} {
		data := make([]byte, size)
		rnd.Read(data)
		all.Go(func() {
			_, err := d[0].Write(data)
			assert.Check(t, err)
			assert.Check(t, d[0].(interface{ CloseWrite() error }).CloseWrite())
		})
		all.Go(func() {
			got, err := io.ReadAll(d[1])
			assert.Check(t, err)
			assert.Check(t, is.Equal(sha256.Sum256(got), sha256.Sum256(data)))
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(watchdog):
		t.Fatal("hangs")
	}
	a.Close()
	b.Close()
}

// gone waits until the device has no connection left.
func gone(t *testing.T, d *Device) {
	t.Helper()
	for late := time.Now().Add(watchdog); d.Stats().Conns > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("connections are left: %+v", d.Stats())
		}
	}
}

func TestExchange(t *testing.T) {
	var m Mux
	s := newStack(t, Options{Router: &m})
	t.Run("listener", func(t *testing.T) {
		ln, err := s.vsock.Listen(1)
		assert.NilError(t, err)
		defer ln.Close()
		g, err := s.dial(1)
		assert.NilError(t, err)
		h, err := ln.Accept()
		assert.NilError(t, err)
		exchange(t, g, h)
		gone(t, s.vsock)
	})
	t.Run("dial", func(t *testing.T) {
		ln := s.listen(2)
		h, err := s.vsock.Dial(t.Context(), 2)
		assert.NilError(t, err)
		g, _ := ln.Accept()
		exchange(t, g, h)
		gone(t, s.vsock)
	})
	t.Run("tcp, from the guest", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		assert.NilError(t, err)
		defer ln.Close()
		m.Via(3, TCP(ln.Addr().String()))
		g, err := s.dial(3)
		assert.NilError(t, err)
		h, err := ln.Accept()
		assert.NilError(t, err)
		exchange(t, g, h)
		gone(t, s.vsock)
		ln.Close()
		_, err = s.dial(3)
		assert.ErrorIs(t, err, errRefuse)
	})
	t.Run("tcp, from the host", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		assert.NilError(t, err)
		forwarded := make(chan error)
		go func() { forwarded <- s.vsock.Forward(ln, 4) }()
		gl := s.listen(4)
		h, err := net.Dial("tcp", ln.Addr().String())
		assert.NilError(t, err)
		g, _ := gl.Accept()
		exchange(t, g, h)
		gone(t, s.vsock)
		ln.Close()
		assert.NilError(t, <-forwarded)
	})
	path := t.TempDir() + "/vsock"
	t.Run("unix, from the guest", func(t *testing.T) {
		m.Otherwise(UnixRouter(path))
		ln, err := net.Listen("unix", path+"_52")
		assert.NilError(t, err)
		defer ln.Close()
		g, err := s.dial(52)
		assert.NilError(t, err)
		h, err := ln.Accept()
		assert.NilError(t, err)
		exchange(t, g, h)
		gone(t, s.vsock)
		_, err = s.dial(53)
		assert.ErrorIs(t, err, errRefuse)
	})
	t.Run("unix, from the host", func(t *testing.T) {
		ln, err := net.Listen("unix", path)
		assert.NilError(t, err)
		served := make(chan error)
		go func() { served <- s.vsock.ServeUnix(ln) }()
		gl := s.listen(1024)
		h, err := net.Dial("unix", path)
		assert.NilError(t, err)
		fmt.Fprintf(h, "CONNECT 1024\n")
		var port uint32
		_, err = fmt.Fscanf(byByte{h}, "OK %d\n", &port)
		assert.NilError(t, err)
		g, _ := gl.Accept()
		assert.Equal(t, g.RemoteAddr(), net.Addr(Addr{hostCID, port}))
		exchange(t, g, h)
		gone(t, s.vsock)
		for _, line := range []string{"CONNECT 1025\n", "CONNECT 4294967296\n", "HELLO\n", "CONNECT 99999999999999999999", "\n"} {
			h, err := net.Dial("unix", path)
			assert.NilError(t, err)
			fmt.Fprint(h, line)
			b, _ := io.ReadAll(h)
			assert.Equal(t, string(b), "", line)
			h.Close()
		}
		ln.Close()
		assert.NilError(t, <-served)
	})
}

// byByte reads no more than it is asked for.
type byByte struct{ io.Reader }

func (b byByte) Read(p []byte) (int, error) { return b.Reader.Read(p[:min(1, len(p))]) }

// A host application that does not read stalls its own connection and no other.
func TestSlowHostStallsItself(t *testing.T) {
	path := t.TempDir() + "/vsock"
	var m Mux
	m.Handle(1, echo)
	m.Otherwise(UnixRouter(path))
	s := newStack(t, Options{Router: &m})
	ln, err := net.Listen("unix", path+"_2")
	assert.NilError(t, err)
	defer ln.Close()
	slow, err := s.dial(2)
	assert.NilError(t, err)
	h, err := ln.Accept()
	assert.NilError(t, err)
	stalled := make(chan error, 1)
	go func() {
		_, err := slow.Write(make([]byte, 8<<20))
		stalled <- err
	}()
	quick, err := s.dial(1)
	assert.NilError(t, err)
	b := make([]byte, 1000)
	for range 1000 {
		_, err := quick.Write(b)
		assert.NilError(t, err)
		_, err = io.ReadFull(quick, b)
		assert.NilError(t, err)
	}
	select {
	case err := <-stalled:
		t.Fatalf("8 MiB went nowhere: %v", err)
	default:
	}
	h.Close() // a dead one
	assert.Check(t, <-stalled != nil)
	quick.Close()
	gone(t, s.vsock)
}

// What ends badly on one side ends badly on the other.
func TestJoinPassesOnResets(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer ln.Close()
	s := newStack(t, Options{Router: TCP(ln.Addr().String())})
	g, err := s.dial(1)
	assert.NilError(t, err)
	h, err := ln.Accept()
	assert.NilError(t, err)
	h.(*net.TCPConn).SetLinger(0)
	h.Close()
	_, err = g.Read(make([]byte, 1))
	assert.ErrorIs(t, err, errGuestRS)
	gone(t, s.vsock)

	g, err = s.dial(1)
	assert.NilError(t, err)
	h, err = ln.Accept()
	assert.NilError(t, err)
	s.mu.Lock()
	s.sendPacket(g.(*socket), opReset, 0, nil)
	s.mu.Unlock()
	_, err = h.Read(make([]byte, 1))
	assert.ErrorContains(t, err, "reset")
	gone(t, s.vsock)
}

// What the driver wrote before it closed reaches the host in whole, though the driver takes no
// more of what the host has to say.
func TestJoinDeliversLastWords(t *testing.T) {
	path := t.TempDir() + "/vsock"
	ln, err := net.Listen("unix", path+"_1")
	assert.NilError(t, err)
	defer ln.Close()
	s := newStack(t, Options{Router: UnixRouter(path), MaxConns: 16})
	g, err := s.dial(1)
	assert.NilError(t, err)
	h, err := ln.Accept()
	assert.NilError(t, err)
	go func() {
		h.Write(make([]byte, 8<<20)) // the driver reads nothing of this
		h.(*net.UnixConn).CloseWrite()
	}()
	const size = 250_000 // more than a socket's buffer, less than the window that one of few begins with
	_, err = g.Write(make([]byte, size))
	assert.NilError(t, err)
	assert.NilError(t, g.Close())
	for late := time.Now().Add(watchdog); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		over := g.(*socket).reset
		s.mu.Unlock()
		if over {
			break
		}
		assert.Assert(t, time.Now().Before(late))
	}
	n, err := io.Copy(io.Discard, struct{ io.Reader }{h})
	assert.Check(t, err)
	assert.Equal(t, n, int64(size))
	h.Close()
	gone(t, s.vsock)
}

// A driver that goes takes the host's ends with it, also where nobody reads.
func TestJoinEndsWithTheDriver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		host, app := net.Pipe()
		l := newLink(t, Options{Router: Dialer(func(context.Context, Request) (net.Conn, error) { return host, nil })})
		l.connect()
		l.send(l.from(opData, "nobody reads this"))
		synctest.Wait()
		l.stop()
		synctest.Wait()
		assert.Equal(t, l.vsock.Stats().Conns, 0)
		_, err := io.ReadAll(app)
		assert.NilError(t, err)
	})
}

// Messages stay messages on a unix socket that has them.
func TestJoinSeqpacket(t *testing.T) {
	path := t.TempDir() + "/vsock"
	ln, err := net.Listen("unixpacket", path+"_80")
	assert.NilError(t, err)
	defer ln.Close()
	l := newLink(t, Options{Router: UnixRouter(path)})
	p := l.from(opRequest, "")
	p.kind = Seqpacket
	l.send(p)
	l.expect(opResponse)
	h, err := ln.Accept()
	assert.NilError(t, err)
	defer h.Close()
	for _, text := range []string{"one", "two"} {
		p := l.from(opData, text)
		p.kind, p.flags = Seqpacket, endOfMessage
		l.send(p)
	}
	b := make([]byte, 100)
	for _, text := range []string{"one", "two"} {
		n, err := h.Read(b)
		assert.NilError(t, err)
		assert.Equal(t, string(b[:n]), text)
		_, err = h.Write([]byte("re: " + text))
		assert.NilError(t, err)
	}
	for replies := 0; replies < 2; {
		if p := l.recv(); p.op == opData {
			assert.Equal(t, p.flags, uint32(endOfMessage))
			assert.Check(t, p.data == "re: one" || p.data == "re: two")
			replies++
		}
	}
	_, err = h.Write(make([]byte, chunk+1))
	assert.NilError(t, err)
	for l.recv().op != opReset { // rather than half a message
	}
}

// A driver that takes nothing of what the host sends does not make the device hoard it.
func TestJoinIsBounded(t *testing.T) {
	path := t.TempDir() + "/vsock"
	ln, err := net.Listen("unix", path+"_80")
	assert.NilError(t, err)
	defer ln.Close()
	const conns, memory = 100, 4 << 20
	l := newLink(t, Options{Router: UnixRouter(path), MaxConns: conns, Memory: memory})
	l.tell.window = 0
	before := inUse()
	for i := range conns {
		p := l.from(opRequest, "")
		p.srcPort = uint32(1000 + i)
		l.send(p)
		h, err := ln.Accept()
		assert.NilError(t, err)
		defer h.Close()
		h.SetWriteDeadline(time.Now().Add(watchdog))
		_, err = h.Write(make([]byte, chunk))
		assert.NilError(t, err)
	}
	for asked := 0; asked < conns; { // all of them have read something
		if l.recv().op == opCreditRequest {
			asked++
		}
	}
	if grown := inUse() - before; !raceEnabled {
		assert.Assert(t, grown < memory+1<<20, "%d bytes", grown)
	}
}

// What is written for sockets works unchanged: an HTTP server on this side, and a client.
func TestHTTP(t *testing.T) {
	s := newStack(t, Options{})
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.Path, len(b))
	})
	serve := func(ln net.Listener) {
		srv := http.Server{Handler: page}
		go srv.Serve(ln)
		t.Cleanup(func() { srv.Close() })
	}
	ln, err := s.vsock.Listen(80)
	assert.NilError(t, err)
	serve(ln)
	serve(s.listen(8080))
	for name, dial := range map[string]func(context.Context, string, string) (net.Conn, error){
		"driver": func(context.Context, string, string) (net.Conn, error) { return s.dial(80) },
		"host":   func(ctx context.Context, _, _ string) (net.Conn, error) { return s.vsock.Dial(ctx, 8080) },
	} {
		t.Run(name, func(t *testing.T) {
			tr := &http.Transport{DialContext: dial}
			defer tr.CloseIdleConnections()
			client := http.Client{Transport: tr, Timeout: watchdog}
			for range 10 {
				resp, err := client.Post("http://vsock/status", "text/plain", bytes.NewReader(make([]byte, 300_000)))
				assert.NilError(t, err)
				b, err := io.ReadAll(bufio.NewReader(resp.Body))
				assert.NilError(t, err)
				resp.Body.Close()
				assert.Equal(t, string(b), "POST /status 300000")
			}
		})
	}
}

// hostPort is a port of this machine's that nobody else is likely to have.
const hostPort = 3_456_789_012

// AF_VSOCK on this machine, where the kernel has it; everywhere else nobody is there.
func TestHostRouter(t *testing.T) {
	var m Mux
	s := newStack(t, Options{Router: &m})
	m.Otherwise(HostRouter(1))
	if ln, err := hostvsock.ListenContextID(1, hostPort, nil); err == nil { // needs vsock_loopback
		defer ln.Close()
		g, err := s.dial(hostPort)
		assert.NilError(t, err)
		h, err := ln.Accept()
		assert.NilError(t, err)
		exchange(t, g, h)
	}
	_, err := s.dial(4_000_000_000)
	assert.ErrorIs(t, err, errRefuse)
	_, err = HostRouter(1).Route(t.Context(), Request{Port: 1, Type: Seqpacket})
	assert.Check(t, err != nil)
}
