package driver_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"context"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/backend/vsock"
	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// vsockRig is both sides of a socket device, and what it takes to replace either.
type vsockRig struct {
	t      testing.TB
	region *shmem.Region
	layout mmio.Layout
	host   notify.Line
	bell   notify.Line // the front-end's

	router vsock.Mux
	back   *vsock.Device
	front  *driver.Vsock
	stop   func() // the monitor
	leave  func() // the front-end
}

const vsockCID = 42

func newVsockRig(t testing.TB, layout mmio.Layout) *vsockRig {
	region, err := shmem.NewMemfd("window", 4*winSize) // both sides are in this process
	assert.NilError(t, err)
	t.Cleanup(func() { region.Close() })
	r := &vsockRig{t: t, region: region, layout: layout}
	r.host, r.bell = notify.NewPair()
	r.monitor()
	t.Cleanup(func() { r.stop() })
	r.frontEnd()
	t.Cleanup(func() { r.leave() })
	return r
}

// monitor starts one that knows nothing of an earlier one.
func (r *vsockRig) monitor() {
	r.t.Helper()
	var err error
	r.back, err = vsock.New(vsock.Options{CID: vsockCID, Router: &r.router})
	assert.NilError(r.t, err)
	ready := make(chan struct{})
	bus, err := mmio.NewBus(mmio.Options{
		Region: r.region, Addr: winAddr, Line: r.host, Layout: r.layout,
		Log: slog.New(slog.DiscardHandler), Ready: func() { close(ready) },
	})
	assert.NilError(r.t, err)
	assert.NilError(r.t, bus.Add("vsock", r.back, 0))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bus.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		assert.NilError(r.t, <-done)
	})
	<-ready
}

// frontEnd starts one that knows nothing of an earlier one.
func (r *vsockRig) frontEnd() {
	r.t.Helper()
	w, err := driver.Open(driver.Options{Region: r.region, Addr: winAddr, Line: r.bell})
	assert.NilError(r.t, err)
	d, err := w.Find(bounded(r.t), virtio.IDSocket, 0)
	assert.NilError(r.t, err)
	r.front, err = driver.StartVsock(bounded(r.t), d)
	assert.NilError(r.t, err)
	r.leave = sync.OnceFunc(func() { assert.NilError(r.t, errors.Join(r.front.Close(), w.Close())) })
}

// up dials from the front-end to a port of the host's.
func (r *vsockRig) up(port uint32) net.Conn {
	r.t.Helper()
	c, err := r.front.Dial(bounded(r.t), port)
	assert.NilError(r.t, err)
	r.t.Cleanup(func() { c.Close() })
	return timed(c)
}

// down dials from the host to a port of the front-end's.
func (r *vsockRig) down(port uint32) net.Conn {
	r.t.Helper()
	ctx := bounded(r.t)
	c, err := r.back.Dial(ctx, port)
	for errors.Is(err, vsock.ErrNoDriver) && ctx.Err() == nil { // it has not been noticed yet
		c, err = r.back.Dial(ctx, port)
	}
	assert.NilError(r.t, err)
	r.t.Cleanup(func() { c.Close() })
	return timed(c)
}

// timed ends a hang.
func timed(c net.Conn) net.Conn {
	_ = c.SetDeadline(time.Now().Add(hang))
	return c
}

// serveFront serves a port of the front-end's.
func (r *vsockRig) serveFront(port uint32, serve func(net.Conn)) *driver.VsockListener {
	r.t.Helper()
	l, err := r.front.Listen(port)
	assert.NilError(r.t, err)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l
}

type halfCloser interface{ CloseWrite() error }

// digest reads to the end, answers with the hash, and closes.
func digest(c net.Conn) {
	h := sha256.New()
	if _, err := io.Copy(h, c); err == nil {
		c.Write(h.Sum(nil))
	}
	c.Close()
}

// mirror sends back what comes.
func mirror(c net.Conn) {
	io.Copy(c, c)
	c.Close()
}

// digested sends n bytes, half-closes, and sees that what arrived is what was sent.
func digested(t testing.TB, c net.Conn, n int) {
	t.Helper()
	h := sha256.New()
	var seed [32]byte
	_, err := io.CopyN(io.MultiWriter(c, h), rand.NewChaCha8(seed), int64(n))
	assert.NilError(t, err)
	assert.NilError(t, c.(halfCloser).CloseWrite())
	got, err := io.ReadAll(c)
	assert.NilError(t, err)
	assert.Assert(t, bytes.Equal(got, h.Sum(nil)), "%x", got)
}

func inLayouts(t *testing.T, test func(*testing.T, *vsockRig)) {
	for _, layout := range []mmio.Layout{mmio.Table, mmio.Tree, mmio.Modern} {
		t.Run(layout.String(), func(t *testing.T) { test(t, newVsockRig(t, layout)) })
	}
}

// Either side opens, sends a lot, says that it is done, and gets an answer.
func TestVsock(t *testing.T) {
	inLayouts(t, func(t *testing.T, r *vsockRig) {
		assert.Equal(t, r.front.CID(), uint64(vsockCID))
		r.router.Handle(7, digest)
		l := r.serveFront(9, digest)
		assert.Equal(t, l.Addr().String(), "42:9")
		up := r.up(7)
		assert.Equal(t, up.RemoteAddr().String(), "2:7")
		assert.Equal(t, up.LocalAddr().Network(), "vsock")
		digested(t, up, 16<<20)
		digested(t, r.down(9), 16<<20)
		digested(t, r.up(7), 0)
		digested(t, r.down(9), 1)

		_, err := r.front.Dial(bounded(t), 8)
		assert.Check(t, is.ErrorIs(err, syscall.ECONNREFUSED))
		_, err = r.back.Dial(bounded(t), 8)
		assert.Check(t, is.ErrorIs(err, syscall.ECONNREFUSED))
		assert.NilError(t, l.Close())
		_, err = r.back.Dial(bounded(t), 9)
		assert.Check(t, is.ErrorIs(err, syscall.ECONNREFUSED))
		_, err = l.Accept()
		assert.Check(t, is.ErrorIs(err, net.ErrClosed))
	})
}

// A hundred connections at once, both ways.
func TestVsock_Many(t *testing.T) {
	inLayouts(t, func(t *testing.T, r *vsockRig) {
		r.router.Handle(7, digest)
		r.serveFront(9, digest)
		var all sync.WaitGroup
		for i := range 100 {
			dial := r.up
			port := uint32(7)
			if i%2 == 0 {
				dial, port = r.down, 9
			}
			all.Go(func() { digested(t, dial(port), 50_000+i) })
		}
		all.Wait()
	})
}

// What one direction is told does not end the other.
func TestVsock_HalfClose(t *testing.T) {
	inLayouts(t, func(t *testing.T, r *vsockRig) {
		accepted := make(chan net.Conn, 1)
		r.serveFront(9, func(c net.Conn) { accepted <- c })
		host := r.down(9)
		front := timed(recv(t, accepted))
		for _, ends := range [][2]net.Conn{{front, host}, {host, front}} {
			assert.NilError(t, ends[0].(halfCloser).CloseWrite())
			_, err := ends[1].Read(make([]byte, 1))
			assert.Equal(t, err, io.EOF)
			_, err = ends[0].Write([]byte("x"))
			assert.Check(t, is.ErrorIs(err, syscall.EPIPE))
			if ends[0] == front {
				_, err = host.Write([]byte("the other way"))
				assert.NilError(t, err)
				got := make([]byte, 13)
				_, err = io.ReadFull(front, got)
				assert.NilError(t, err)
				assert.Equal(t, string(got), "the other way")
			}
		}
		assert.NilError(t, host.Close())
		assert.NilError(t, front.Close())
		assert.Check(t, is.ErrorIs(front.Close(), net.ErrClosed))
	})
}

// A reader that does not read stops its own writer and nobody else.
func TestVsock_Slow(t *testing.T) {
	r := newVsockRig(t, mmio.Modern)
	r.router.Handle(7, digest)
	accepted := make(chan net.Conn, 1)
	r.serveFront(9, func(c net.Conn) { accepted <- c })
	host := r.down(9)
	front := timed(recv(t, accepted))
	written := make(chan int64, 1)
	go func() {
		var seed [32]byte
		n, _ := io.CopyN(host, rand.NewChaCha8(seed), 4<<20)
		host.(halfCloser).CloseWrite()
		written <- n
	}()
	digested(t, r.up(7), 4<<20)
	select {
	case n := <-written:
		t.Fatalf("%d bytes were taken that nobody reads", n)
	default:
	}
	h, want := sha256.New(), sha256.New()
	n, err := io.Copy(h, front)
	assert.NilError(t, err)
	assert.Equal(t, n, int64(4<<20))
	var seed [32]byte
	_, _ = io.CopyN(want, rand.NewChaCha8(seed), 4<<20)
	assert.DeepEqual(t, h.Sum(nil), want.Sum(nil))
	assert.Equal(t, recv(t, written), n)
}

func TestVsock_Deadlines(t *testing.T) {
	r := newVsockRig(t, mmio.Modern)
	hold := make(chan net.Conn, 1)
	r.router.Handle(7, func(c net.Conn) { hold <- c; io.Copy(io.Discard, io.LimitReader(c, 0)); <-bounded(t).Done() })
	c := r.up(7)
	assert.NilError(t, c.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	_, err := c.Read(make([]byte, 1))
	assert.Check(t, is.ErrorIs(err, os.ErrDeadlineExceeded))
	assert.NilError(t, c.SetWriteDeadline(time.Now().Add(10*time.Millisecond)))
	_, err = c.Write(make([]byte, 16<<20)) // nobody reads
	assert.Check(t, is.ErrorIs(err, os.ErrDeadlineExceeded))
	// One that waits already hears of a new deadline, and one that was lifted is none.
	assert.NilError(t, c.SetReadDeadline(time.Time{}))
	ended := make(chan error, 1)
	go func() { _, err := c.Read(make([]byte, 1)); ended <- err }()
	time.Sleep(10 * time.Millisecond)
	assert.NilError(t, c.SetDeadline(time.Unix(1, 0)))
	assert.Check(t, is.ErrorIs(recv(t, ended), os.ErrDeadlineExceeded))
	assert.NilError(t, c.SetDeadline(time.Time{}))
	go func() { _, err := c.Read(make([]byte, 1)); ended <- err }()
	assert.NilError(t, c.Close())
	assert.Check(t, is.ErrorIs(recv(t, ended), net.ErrClosed))

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = r.front.Dial(ctx, 7)
	assert.Check(t, is.ErrorIs(err, context.Canceled))
}

// A front-end that starts anew with connections open has none, and the host's are over.
func TestVsock_FrontEndRestarts(t *testing.T) {
	inLayouts(t, func(t *testing.T, r *vsockRig) {
		r.router.Handle(7, mirror)
		r.serveFront(9, mirror)
		for range 3 {
			host := r.down(9)
			echoes(t, host)
			front := r.up(7)
			echoes(t, front)
			r.leave()
			_, err := front.Read(make([]byte, 1))
			assert.Check(t, is.ErrorIs(err, driver.ErrClosed))
			r.frontEnd()
			_, err = host.Read(make([]byte, 1))
			assert.Check(t, is.ErrorIs(err, syscall.ECONNRESET))
			r.serveFront(9, mirror)
			echoes(t, r.up(7))
			echoes(t, r.down(9))
		}
	})
}

// A monitor that is replaced with connections open: the front-end hears that they are gone, its
// listeners stay, and it dials anew.
func TestVsock_MonitorRestarts(t *testing.T) {
	inLayouts(t, func(t *testing.T, r *vsockRig) {
		r.router.Handle(7, mirror)
		r.serveFront(9, mirror)
		for range 3 {
			front := r.up(7)
			echoes(t, front)
			echoes(t, r.down(9))
			r.stop()
			r.monitor()
			_, err := front.Read(make([]byte, 1))
			assert.Check(t, is.ErrorIs(err, syscall.ECONNRESET))
			_, err = front.Write(make([]byte, 1))
			assert.Check(t, is.ErrorIs(err, syscall.ECONNRESET))
			echoes(t, r.up(7))
			echoes(t, r.down(9))
		}
	})
}

func echoes(t testing.TB, c net.Conn) {
	t.Helper()
	said := []byte("is anybody there?")
	_, err := c.Write(said)
	assert.NilError(t, err)
	got := make([]byte, len(said))
	_, err = io.ReadFull(c, got)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, said)
}

// What is sent and received makes no garbage, on either side.
func TestVsock_Allocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := newVsockRig(t, mmio.Modern)
	r.router.Handle(7, mirror)
	c := r.up(7)
	assert.NilError(t, c.SetDeadline(time.Time{}))
	out, in := make([]byte, 10_000), make([]byte, 10_000)
	none(t, "echo", func() {
		if _, err := c.Write(out); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, in); err != nil {
			t.Fatal(err)
		}
	})
}
