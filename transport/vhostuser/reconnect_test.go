package vhostuser_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
)

// A front-end that dies in the middle of any of its messages leaves a back-end that serves the
// next one.
func TestVhostUser_FrontEndDiesInAMessage(t *testing.T) {
	path := listen(t, &shuffler{queues: 2, depth: 4})
	o := vhostusertest.Options{Sizes: []uint16{16, 16}, Inflight: true, Acked: true, Regions: memories[2]}
	for n := 1; ; n++ {
		g := newGuest(t, o)
		fe := dial(t, path)
		fe.Fuse = n
		err := g.Attach(fe)
		if err == nil {
			assert.Assert(t, n > 20, "only %d messages were sent", n)
			turned(g, 1).some(t, 50)
			return
		}
		assert.NilError(t, g.Close())
	}
}

// A front-end that dies while its requests are served is forgotten: its memory is not touched
// once the next one is served, and the next one is served as if nothing had been.
func TestVhostUser_FrontEndDiesInATransfer(t *testing.T) {
	path := listen(t, &shuffler{queues: 2, depth: 8})
	r := rand.New(rand.NewPCG(1, 1))
	var old *vhostusertest.Guest
	for range 60 {
		g := newGuest(t, vhostusertest.Options{
			Sizes: []uint16{32, 32}, Regions: memories[r.IntN(len(memories))],
			Notify: vhostusertest.Notify(r.IntN(3)), EventIdx: r.IntN(2) > 0, Indirect: r.IntN(2) > 0,
		})
		assert.NilError(t, g.Dial(path))
		both := pair{turned(g, 0), turned(g, 1)}
		both[0].some(t, 3)
		before := snapshot(old)
		for end := time.Now().Add(time.Duration(r.IntN(3_000)) * time.Microsecond); time.Now().Before(end); {
			both.step(t, true)
		}
		assert.Assert(t, bytes.Equal(before, snapshot(old)), "memory of a front-end that is dead was written")
		assert.NilError(t, g.Detach())
		if old != nil {
			assert.NilError(t, old.Close())
		}
		old = g
	}
}

// snapshot is all of a guest's memory.
func snapshot(g *vhostusertest.Guest) (all []byte) {
	if g == nil {
		return nil
	}
	for _, r := range g.Memory.Regions {
		all = append(all, g.Memory.Read(r.Guest, r.Size)...)
	}
	return all
}

// A guest that reboots, or whose front-end starts again, comes back to the same back-end, which
// keeps nothing of the former: no descriptor, no mapping.
func TestVhostUser_ReconnectLeavesNothing(t *testing.T) {
	path := listen(t, rng.New(rng.Options{}))
	for _, notify := range []vhostusertest.Notify{vhostusertest.Eventfds, vhostusertest.Pipes, vhostusertest.InBand} {
		t.Run(notify.String(), func(t *testing.T) {
			g := newGuest(t, vhostusertest.Options{Sizes: []uint16{8}, Notify: notify, Regions: memories[1], Inflight: true})
			addr := g.Memory.Alloc(64, 1)
			var descriptors, mappings int
			for i := range 60 {
				assert.NilError(t, g.Dial(path))
				e, err := g.Queues[0].Do(vhostusertest.Writable(addr, 64))
				assert.NilError(t, err)
				assert.Equal(t, e.Len, uint32(64))
				assert.NilError(t, g.Detach())
				assert.NilError(t, g.Reset())
				if i == 20 {
					descriptors, mappings = held(t)
				}
			}
			// The connection that ended last may not be forgotten yet: the next one waits for that.
			d, m := held(t)
			assert.Assert(t, d < descriptors+20 && m < mappings+20, "%d descriptors and %d mappings have become %d and %d", descriptors, mappings, d, m)
		})
	}
}

// held counts the descriptors and mappings of this process.
func held(t *testing.T) (descriptors, mappings int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	assert.NilError(t, err)
	maps, err := os.ReadFile("/proc/self/maps")
	assert.NilError(t, err)
	return len(fds), bytes.Count(maps, []byte("memfd:"))
}

// A front-end that starts again hands the record over, and what was in flight is served once.
func TestVhostUser_ReconnectWithInflight(t *testing.T) {
	path := listen(t, &shuffler{queues: 2, depth: 12})
	for _, notify := range []vhostusertest.Notify{vhostusertest.Eventfds, vhostusertest.Pipes} {
		t.Run(notify.String(), func(t *testing.T) {
			g := newGuest(t, vhostusertest.Options{Sizes: []uint16{64, 32}, Notify: notify, Inflight: true, EventIdx: true})
			both := pair{turned(g, 0), turned(g, 1)}
			r := rand.New(rand.NewPCG(2, 2))
			for range 100 {
				assert.NilError(t, g.Dial(path))
				for end := time.Now().Add(time.Duration(r.IntN(1_500)) * time.Microsecond); time.Now().Before(end); {
					both.step(t, true)
				}
			}
			for end := time.Now().Add(patience); ; {
				flying := both.step(t, false)
				if flying == 0 {
					break
				}
				assert.Assert(t, time.Now().Before(end), "%d requests are lost", flying)
			}
			t.Logf("%d and %d requests", both[0].answers, both[1].answers)
		})
	}
}

// After the death of a back-end nobody knows where it was, so front-ends say different things
// about where a ring begins. With a record it does not matter.
func TestVhostUser_ReconnectWithAnyBase(t *testing.T) {
	for name, base := range map[string]func(q *vhostusertest.Queue) uint16{
		"used index":      func(q *vhostusertest.Queue) uint16 { return q.UsedIdx() },
		"available index": func(q *vhostusertest.Queue) uint16 { return q.Offered() },
		"zero":            func(*vhostusertest.Queue) uint16 { return 0 },
	} {
		t.Run(name, func(t *testing.T) {
			path := listen(t, &shuffler{queues: 1, depth: 12})
			g := newGuest(t, vhostusertest.Options{Sizes: []uint16{64}, Inflight: true, Acked: true})
			assert.NilError(t, g.Dial(path))
			w := turned(g, 0)
			for range 20 {
				w.some(t, 40)
				for w.step(t, true) == 0 {
				}
				assert.NilError(t, g.Detach())
				assert.NilError(t, g.Negotiate(dial(t, path)))
				assert.NilError(t, g.Share())
				assert.NilError(t, g.Queues[0].PlaceAt(base(g.Queues[0])))
				assert.NilError(t, g.Queues[0].Enable())
				assert.NilError(t, g.Ready())
			}
			w.some(t, 40)
		})
	}
}
