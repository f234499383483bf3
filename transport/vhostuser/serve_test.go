package vhostuser

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
	"github.com/hypervisorless/virtio/virtio"
)

// quiet is a log that nobody reads.
var quiet = slog.New(slog.DiscardHandler)

// connect serves one front-end over a socket pair. What Serve returned is in done.
func connect(t testing.TB, s *Server) (fe *vhostusertest.FrontEnd, done chan error) {
	t.Helper()
	ours, theirs, err := vhostusertest.SocketPair()
	assert.NilError(t, err)
	fe, err = vhostusertest.New(ours)
	assert.NilError(t, err)
	ours.Close()
	sock := unixConn(t, theirs)
	done = make(chan error, 1)
	over := make(chan struct{})
	go func() {
		defer close(over)
		done <- s.Serve(context.Background(), sock)
	}()
	t.Cleanup(func() { // nothing of it is left for the next test to count
		fe.Close()
		<-over
	})
	return fe, done
}

func unixConn(t testing.TB, f *os.File) *net.UnixConn {
	t.Helper()
	conn, err := net.FileConn(f)
	assert.NilError(t, err)
	f.Close()
	return conn.(*net.UnixConn)
}

// newServer is a server for a device that is gone with the test.
func newServer(t testing.TB, b virtio.Backend, o Options) *Server {
	t.Helper()
	if o.Log == nil {
		o.Log = quiet
	}
	s, err := New("toy", b, o)
	assert.NilError(t, err)
	return s
}

// newGuest is a guest that is gone with the test.
func newGuest(t testing.TB, o vhostusertest.Options) *vhostusertest.Guest {
	t.Helper()
	g, err := vhostusertest.NewGuest(o)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, g.Close()) })
	return g
}

// counter gives every byte a value that tells where it belongs.
type counter struct{ n byte }

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = c.n
		c.n++
	}
	return len(p), nil
}

var _ io.Reader = (*counter)(nil)

// Every way to signal, negotiate and lay out memory serves a device.
func TestServes(t *testing.T) {
	split := []vhostusertest.Region{
		{Guest: 0x10_0000, User: 0x7000_0000_0000, Size: 1 << 20, Offset: 0x1000},
		{Guest: 0x2_0000_0000, User: 0x6000_0000_0000, Size: 1 << 20},
	}
	for _, n := range []vhostusertest.Notify{vhostusertest.Eventfds, vhostusertest.Pipes, vhostusertest.InBand} {
		for bits := range 32 {
			o := vhostusertest.Options{
				Sizes: []uint16{8}, Notify: n, Regions: split[:1+bits&1],
				EventIdx: bits&2 != 0, Indirect: bits&4 != 0, Acked: bits&8 != 0, Status: bits&16 != 0,
			}
			t.Run(fmt.Sprintf("%v/%d regions/event idx %v/indirect %v/acked %v/status %v",
				n, len(o.Regions), o.EventIdx, o.Indirect, o.Acked, o.Status), func(t *testing.T) {
				s := newServer(t, rng.New(rng.Options{Source: &counter{}}), Options{Inband: true})
				fe, done := connect(t, s)
				g := newGuest(t, o)
				assert.NilError(t, g.Attach(fe))
				readRandom(t, g, 20)
				assert.NilError(t, g.Detach())
				assert.NilError(t, <-done)
			})
		}
	}
}

// readRandom reads from a device with a counter and sees that nothing is missing.
func readRandom(t testing.TB, g *vhostusertest.Guest, times int) {
	t.Helper()
	q := g.Queues[0]
	buffer := g.Memory.Alloc(64, 1)
	next := -1
	for range times {
		e, err := q.Do(vhostusertest.Writable(buffer, 24), vhostusertest.Writable(buffer+24, 40))
		assert.NilError(t, err)
		assert.Assert(t, e.Len > 0)
		for _, b := range g.Memory.Read(buffer, uint64(e.Len)) {
			assert.Assert(t, next < 0 || int(b) == next)
			next = int(b + 1)
		}
	}
}
