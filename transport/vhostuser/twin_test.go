package vhostuser_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/console"
	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/transport/vhostuser"
	"github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// listen serves a device on a socket for the length of the test.
func listen(t testing.TB, b virtio.Backend) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, path, b) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	return path
}

// serve is a back-end process without the process.
func serve(ctx context.Context, path string, b virtio.Backend) error {
	server, err := vhostuser.New("twin", b, vhostuser.Options{Inband: true, Log: quiet})
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // the socket of a killed predecessor
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	return server.Run(ctx, l)
}

var quiet = slog.New(slog.DiscardHandler)

// newGuest is a guest for the length of the test.
func newGuest(t testing.TB, o vhostusertest.Options) *vhostusertest.Guest {
	t.Helper()
	g, err := vhostusertest.NewGuest(o)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, g.Close()) })
	return g
}

// dial is a connection for the length of the test.
func dial(t testing.TB, path string) *vhostusertest.FrontEnd {
	t.Helper()
	fe, err := vhostusertest.Dial(path)
	assert.NilError(t, err)
	t.Cleanup(func() { fe.Close() })
	return fe
}

// memories are guests' memories as front-ends of the field have them: addresses and offsets that
// have nothing to do with each other, and regions that touch.
var memories = [][]vhostusertest.Region{
	{{Guest: 0, User: 0x7fff_0000_0000, Size: 2 << 20}},
	{
		{Guest: 0x16c0_0000, User: 0x16c0_0000, Size: 1 << 20, Offset: 0x6000},
		{Guest: 0x1_0000_0000, User: 0x5555_0000_0000, Size: 1 << 20, Offset: 0x1000},
	},
	{
		{Guest: 0x4000_0000, User: 0x7f12_3000_0000, Size: 1 << 20},
		{Guest: 0x4010_0000, User: 0x7f12_1000_0000, Size: 1 << 20, Offset: 1 << 20}, // adjoins the first
		{Guest: 1<<52 - 1<<20, User: 0x1000, Size: 1 << 20},
	},
	eight(),
}

// eight is as many regions as one message can name, none of them at a page.
func eight() (regions []vhostusertest.Region) {
	for i := range uint64(8) {
		regions = append(regions, vhostusertest.Region{
			Guest: i<<32 + 0x10, User: 1<<40 + i<<30 + 0x550, Size: 1<<16 - 0x30, Offset: 0x30,
		})
	}
	return regions
}

// everyWay runs a test with each way to lay out, notify and acknowledge.
func everyWay(t *testing.T, sizes []uint16, run func(t *testing.T, g *vhostusertest.Guest)) {
	for _, notify := range []vhostusertest.Notify{vhostusertest.Eventfds, vhostusertest.Pipes, vhostusertest.InBand} {
		for _, regions := range memories {
			for bits := range 8 {
				o := vhostusertest.Options{
					Sizes: sizes, Notify: notify, Regions: regions,
					EventIdx: bits&1 != 0, Indirect: bits&2 != 0, Acked: bits&4 != 0,
				}
				name := fmt.Sprintf("%v/%d regions/event idx %v/indirect %v/acked %v", notify, len(regions), o.EventIdx, o.Indirect, o.Acked)
				t.Run(name, func(t *testing.T) { run(t, newGuest(t, o)) })
				if t.Failed() {
					return // the others may hang, too
				}
			}
		}
	}
}

func TestVhostUser_RngEveryWay(t *testing.T) {
	everyWay(t, []uint16{16}, func(t *testing.T, g *vhostusertest.Guest) {
		source := newStream(1)
		assert.NilError(t, g.Dial(listen(t, rng.New(rng.Options{Source: source}))))
		want := newStream(1)
		q := g.Queues[0]
		for i := range 40 {
			n := uint32(1 + i*37)
			a, b := g.Memory.Alloc(uint64(n), 1), g.Memory.Alloc(10, 1)
			e, err := q.Do(vhostusertest.Writable(a, n), vhostusertest.Writable(b, 10))
			assert.NilError(t, err)
			assert.Equal(t, e.Len, n+10)
			got := append(g.Memory.Read(a, uint64(n)), g.Memory.Read(b, 10)...)
			assert.Assert(t, bytes.Equal(got, want.next(len(got))), "request %d", i)
		}
	})
}

func TestVhostUser_ConsoleEveryWay(t *testing.T) {
	everyWay(t, []uint16{16, 16}, func(t *testing.T, g *vhostusertest.Guest) {
		host, dev := terminalPair(t)
		assert.NilError(t, g.Dial(listen(t, newConsole(t, dev))))
		talk(t, g, host, 20<<10)
	})
}

// A buffer may lie across two regions that adjoin in the guest, whatever they do elsewhere.
func TestVhostUser_BufferAcrossRegions(t *testing.T) {
	g := newGuest(t, vhostusertest.Options{Sizes: []uint16{4}, Regions: memories[2]})
	assert.NilError(t, g.Dial(listen(t, rng.New(rng.Options{Source: newStream(2)}))))
	border := g.Memory.Regions[1].Guest
	e, err := g.Queues[0].Do(vhostusertest.Writable(border-100, 300))
	assert.NilError(t, err)
	assert.Equal(t, e.Len, uint32(300))
	got := append(g.Memory.Read(border-100, 100), g.Memory.Read(border, 200)...)
	assert.Assert(t, bytes.Equal(got, newStream(2).next(300)))
}

// The configuration space is read in pieces, and the guest hears when it changes.
func TestVhostUser_ConfigChange(t *testing.T) {
	_, dev := terminalPair(t)
	c := newConsole(t, dev)
	g := newGuest(t, vhostusertest.Options{Sizes: []uint16{16, 16}, Features: virtio.FeatureSet(console.FeatureSize)})
	assert.NilError(t, g.Dial(listen(t, c)))
	before, err := g.FrontEnd.GetConfig(0, 4)
	assert.NilError(t, err)
	assert.DeepEqual(t, before, []byte{80, 0, 24, 0})

	n, next := g.Channel.Count(vhostusertest.BackendConfigChange)
	c.Resize(0, 132, 43)
	for n == 0 {
		await(t, next, "a configuration change")
		n, next = g.Channel.Count(vhostusertest.BackendConfigChange)
	}
	rows, err := g.FrontEnd.GetConfig(2, 2)
	assert.NilError(t, err)
	assert.DeepEqual(t, rows, []byte{43, 0})
}

// What the guest writes to the configuration space reaches the device, and only where that may be
// written.
func TestVhostUser_ConfigWrite(t *testing.T) {
	_, dev := terminalPair(t)
	read, written := io.Pipe()
	c, err := console.New(console.Options{Ports: []console.Port{{Endpoint: dev}}, Emergency: written})
	assert.NilError(t, err)
	g := newGuest(t, vhostusertest.Options{Sizes: []uint16{16, 16}, Features: virtio.FeatureSet(console.FeatureEmergencyWrite)})
	assert.NilError(t, g.Dial(listen(t, c)))
	heard := make(chan byte, 1)
	go func() {
		var b [1]byte
		read.Read(b[:])
		heard <- b[0]
	}()
	assert.NilError(t, g.FrontEnd.SetConfig(8, []byte{'!', 0, 0, 0}))
	assert.Equal(t, await(t, heard, "emergency"), byte('!'))
	assert.NilError(t, g.FrontEnd.SetConfig(0, []byte{1, 0}))
	p, err := g.FrontEnd.GetConfig(0, 2)
	assert.NilError(t, err)
	assert.DeepEqual(t, p, []byte{80, 0})
}

// patience ends a test that hangs.
const patience = 30 * time.Second

func await[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("no %s after %v", what, patience)
	}
	return v
}

// stream is an endless sequence of bytes that a test can tell from any other, and from itself
// at another place.
type stream struct{ r *rand.ChaCha8 }

func newStream(seed byte) *stream { return &stream{rand.NewChaCha8([32]byte{seed})} }

func (s *stream) Read(p []byte) (int, error) { return s.r.Read(p) }

func (s *stream) next(n int) []byte {
	p := make([]byte, n)
	s.r.Read(p)
	return p
}

func newConsole(t testing.TB, dev net.Conn) *console.Device {
	t.Helper()
	c, err := console.New(console.Options{Ports: []console.Port{{Endpoint: dev}}})
	assert.NilError(t, err)
	return c
}

// terminalPair is the two ends of a host's connection to a console.
func terminalPair(t testing.TB) (host, dev *net.UnixConn) {
	t.Helper()
	a, b, err := vhostusertest.SocketPair()
	assert.NilError(t, err)
	defer a.Close()
	defer b.Close()
	h, err := net.FileConn(a)
	assert.NilError(t, err)
	d, err := net.FileConn(b)
	assert.NilError(t, err)
	t.Cleanup(func() { h.Close(); d.Close() })
	return h.(*net.UnixConn), d.(*net.UnixConn)
}

// talk sends n bytes from the guest to the host and back, in pieces of all sizes.
func talk(t testing.TB, g *vhostusertest.Guest, host net.Conn, n int) {
	t.Helper()
	assert.NilError(t, host.SetDeadline(time.Now().Add(patience)))
	r := rand.New(rand.NewPCG(1, 2))
	tx, rx := g.Queues[1], g.Queues[0]
	const room = 1 << 10
	out, in := g.Memory.Alloc(room, 1), g.Memory.Alloc(room, 1)

	data := newStream(3).next(n)
	for rest := data; len(rest) > 0; {
		k := min(1+r.IntN(room), len(rest))
		cut := uint32(r.IntN(k))
		g.Memory.Write(out, rest[:k])
		e, err := tx.Do(vhostusertest.Readable(out, cut), vhostusertest.Readable(out+uint64(cut), uint32(k)-cut))
		assert.NilError(t, err)
		assert.Equal(t, e.Len, uint32(0))
		got := make([]byte, k)
		for have := 0; have < k; {
			m, err := host.Read(got[have:])
			assert.NilError(t, err)
			have += m
		}
		assert.Assert(t, bytes.Equal(got, rest[:k]), "%d bytes before the end", len(rest))
		rest = rest[k:]
	}

	go host.Write(data)
	for rest := data; len(rest) > 0; {
		size := uint32(1 + r.IntN(room))
		e, err := rx.Do(vhostusertest.Writable(in, size))
		assert.NilError(t, err)
		assert.Assert(t, e.Len > 0 && e.Len <= size && int(e.Len) <= len(rest), "%d of %d bytes", e.Len, size)
		assert.Assert(t, bytes.Equal(g.Memory.Read(in, uint64(e.Len)), rest[:e.Len]), "%d bytes before the end", len(rest))
		rest = rest[e.Len:]
	}
}

// shuffler answers requests in any order: a number comes back turned over. It takes up to depth
// of them at a time and completes them at random, so what it has taken lies all over its ring.
type shuffler struct {
	queues, depth int
	inOrder       bool // with a depth of 1
}

func (s *shuffler) Info() virtio.Info {
	return virtio.Info{ID: 0x5555, Queues: make([]uint16, s.queues), Redo: true, InOrder: s.inOrder}
}

func (s *shuffler) ReadConfig([]byte, int) {}

func (s *shuffler) Serve(ctx context.Context, session *virtio.Session) error {
	errs := make(chan error, s.queues)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range s.queues {
		go func() { errs <- s.work(ctx, session.Queue(i)) }()
	}
	err := <-errs
	cancel()
	for range s.queues - 1 {
		<-errs
	}
	return err
}

func (s *shuffler) work(ctx context.Context, q *virtio.Queue) error {
	r := rand.New(rand.NewPCG(rand.Uint64(), 0))
	var idle, held []*vring.Chain
	for range s.depth {
		idle = append(idle, new(vring.Chain))
	}
	for {
		if len(held) < s.depth {
			wait, cancel := ctx, context.CancelFunc(func() {})
			if len(held) > 0 {
				wait, cancel = context.WithTimeout(ctx, 50*time.Microsecond)
			}
			c := idle[len(idle)-1]
			err := q.Next(wait, c)
			cancel()
			switch {
			case err == nil:
				held, idle = append(held, c), idle[:len(idle)-1]
				if r.IntN(4) > 0 {
					continue
				}
			case wait.Err() == nil || ctx.Err() != nil:
				return err
			}
		}
		i := r.IntN(len(held))
		c := held[i]
		held[i] = held[len(held)-1]
		held, idle = held[:len(held)-1], append(idle, c)
		if err := turnOver(c); err != nil {
			q.Refuse(c, err)
		} else {
			q.Done(c)
		}
	}
}

func turnOver(c *vring.Chain) error {
	var p [8]byte
	if n, err := c.Read(p[:]); n < len(p) {
		return fmt.Errorf("%d bytes: %w", n, err)
	}
	for i := range p {
		p[i] = ^p[i]
	}
	_, err := c.Write(p[:])
	return err
}
