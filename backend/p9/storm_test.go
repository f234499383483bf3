package p9

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// TestP9_07_ResetStorm resets the device in the middle of all kinds of requests. Each time every
// file is closed, and the next driver is served.
func TestP9_07_ResetStorm(t *testing.T) {
	for _, vectors := range []bool{false, true} {
		fs := newMemFS()
		fs.vectors = vectors
		fs.put("a/b/c", "data")
		fs.put("f", "more data")
		d := newDriver(t, Options{Attacher: fs}, virtiotest.Options{QueueSize: 256})
		rng := rand.New(rand.NewPCG(8, 9))
		for range 60 {
			d.up()
			q, m := d.Queue(0), d.Memory
			for range rng.IntN(30) {
				bytes := make([]byte, 24)
				for i := range bytes {
					bytes[i] = byte(rng.Uint32())
				}
				in := (&sequence{bytes}).next()
				in[5] = byte(rng.IntN(30))
				q.Offer(vringtest.Readable(m.Buffer(in), uint32(len(in))), vringtest.Writable(m.Alloc(512, 1), 512))
			}
			assert.NilError(t, d.Reset())
			st := d.dev.Stats()
			assert.Equal(t, st.Files, int64(0))
			assert.Equal(t, st.Xattrs, int64(0))
			assert.Equal(t, st.Panics, uint64(0))
			d.start()
		}
	}
}

// TestP9_07_Resumed tells a driver that goes on after its monitor was replaced that its files
// are gone, until it mounts anew.
func TestP9_07_Resumed(t *testing.T) {
	b := newBench(t, Options{Attacher: newMemFS()})
	assert.Assert(t, b.dev.Info().Redo)
	b.s = newSession(b.dev, wires{}, slog.New(slog.DiscardHandler), true)
	b.fails(linux.ESTALE, msgTgetattr, 0, uint64(1))
	b.fails(linux.ESTALE, msgTmkdir, 0, "dir", 0755, 0)
	b.must(msgTflush, uint16(7))
	b.up()
	b.must(msgTgetattr, 0, uint64(1))
}

// TestP9_07_SlowClose delays neither a reset nor the next session for ever.
func TestP9_07_SlowClose(t *testing.T) {
	fs := newMemFS()
	fs.put("slow", "")
	slow := newBlocker(fs, "slow", "Close")
	d := newDriver(t, Options{Attacher: fs}, virtiotest.Options{})
	free := sync.OnceFunc(func() { close(slow.release) })
	defer free()
	d.up()
	d.must(msgTwalk, 0, 1, uint16(1), "slow")
	assert.NilError(t, d.Reset())
	d.start()
	d.up()
	free()
	assert.NilError(t, d.Reset())
	d.Await(func() bool { return d.dev.Stats().Files == 0 })
	assert.Equal(t, d.dev.Stats().Files, int64(0))
	d.start()
}
