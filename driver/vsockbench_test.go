package driver_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"context"

	"github.com/hypervisorless/virtio/backend/vsock"
	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// vsockBench is both sides of a socket device in one process, in a window as large as the demo's.
func vsockBench(b *testing.B, spin time.Duration) (*vsock.Device, *vsock.Mux, *driver.Vsock) {
	region, err := shmem.NewMemfd("bench", 16<<20)
	assert.NilError(b, err)
	b.Cleanup(func() { assert.NilError(b, region.Close()) })
	var router vsock.Mux
	back, err := vsock.New(vsock.Options{CID: vsockCID, Router: &router})
	assert.NilError(b, err)
	host, guest := notify.NewPair()
	serve(b, mmio.Options{Region: region, Line: host, Spin: spin, Layout: mmio.Modern, Log: slog.New(slog.DiscardHandler)}, device{"vsock", back, 0})
	w := open(b, driver.Options{Region: region, Line: guest, Spin: spin})
	d, err := w.Find(bounded(b), virtio.IDSocket, 0)
	assert.NilError(b, err)
	front, err := driver.StartVsock(bounded(b), d)
	assert.NilError(b, err)
	b.Cleanup(func() { front.Close() })
	return back, &router, front
}

// vsockPair is the two ends of a connection.
func vsockPair(b *testing.B) (host, front net.Conn) {
	back, _, sockets := vsockBench(b, 0)
	l, err := sockets.Listen(9)
	assert.NilError(b, err)
	for host, err = back.Dial(bounded(b), 9); errors.Is(err, vsock.ErrNoDriver); host, err = back.Dial(bounded(b), 9) {
	}
	assert.NilError(b, err)
	b.Cleanup(func() { host.Close() })
	front, err = l.Accept()
	assert.NilError(b, err)
	b.Cleanup(func() { front.Close() })
	return host, front
}

// pipePair is the two ends of a pipe, one way.
func pipePair(b *testing.B) (w io.WriteCloser, r io.ReadCloser) {
	r, w, err := os.Pipe()
	assert.NilError(b, err)
	b.Cleanup(func() {
		r.Close()
		w.Close()
	})
	return w, r
}

// benchStream has n bytes at a time go from w to r.
func benchStream(b *testing.B, w io.Writer, r io.Reader, n int) {
	go func() {
		buf := make([]byte, n)
		for {
			if _, err := w.Write(buf); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, n)
	for range 4<<20/n + 1 { // windows have grown, memory is there
		if _, err := io.ReadFull(r, buf); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(n))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.ReadFull(r, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVsockStream is one stream each way through driver, rings and device, beside a pipe
// that copies each byte in and out once, too.
func BenchmarkVsockStream(b *testing.B) {
	for _, n := range []int{4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("up/%d", n), func(b *testing.B) {
			host, front := vsockPair(b)
			benchStream(b, front, host, n)
		})
		b.Run(fmt.Sprintf("down/%d", n), func(b *testing.B) {
			host, front := vsockPair(b)
			benchStream(b, host, front, n)
		})
		b.Run(fmt.Sprintf("pipe/%d", n), func(b *testing.B) {
			w, r := pipePair(b)
			benchStream(b, w, r, n)
		})
	}
}

// BenchmarkVsockRequest is a request of 64 bytes and its answer, beside the same over two pipes.
func BenchmarkVsockRequest(b *testing.B) {
	ping := func(b *testing.B, w io.Writer, r io.Reader) {
		var buf [64]byte
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.Write(buf[:]); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(r, buf[:]); err != nil {
				b.Fatal(err)
			}
		}
	}
	pong := func(w io.Writer, r io.Reader) {
		var buf [64]byte
		for {
			if _, err := io.ReadFull(r, buf[:]); err != nil {
				return
			}
			w.Write(buf[:])
		}
	}
	b.Run("up", func(b *testing.B) {
		host, front := vsockPair(b)
		go pong(host, host)
		ping(b, front, front)
	})
	b.Run("pipe", func(b *testing.B) {
		w1, r1 := pipePair(b)
		w2, r2 := pipePair(b)
		go pong(w2, r1)
		ping(b, w1, r2)
	})
}

// BenchmarkConnectionsVsock is how long it takes to open a connection, use and close it, beside
// a unix socket; both make garbage.
func BenchmarkConnectionsVsock(b *testing.B) {
	use := func(b *testing.B, c net.Conn, err error) {
		if err != nil {
			b.Fatal(err)
		}
		var buf [1]byte
		c.Write(buf[:])
		if _, err := io.ReadFull(c, buf[:]); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
	b.Run("up", func(b *testing.B) {
		_, router, front := vsockBench(b, 0)
		router.Handle(7, mirror)
		b.ReportAllocs()
		for b.Loop() {
			c, err := front.Dial(context.Background(), 7)
			use(b, c, err)
		}
	})
	b.Run("unix", func(b *testing.B) {
		l, err := net.Listen("unix", b.TempDir()+"/s")
		assert.NilError(b, err)
		b.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go mirror(c)
			}
		}()
		b.ReportAllocs()
		for b.Loop() {
			c, err := net.Dial("unix", l.Addr().String())
			use(b, c, err)
		}
	})
}
