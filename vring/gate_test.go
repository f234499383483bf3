package vring_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// gated is a queue behind a Gate whose look and left are counted and scripted.
type gated struct {
	*env
	gate        *vring.Gate
	looks, left atomic.Int32
	look        func() bool // nil: yes
}

func newGated(t testing.TB, region *shmem.Region, c vring.Config) *gated {
	m := newMemory(region)
	g := &gated{}
	g.gate = vring.NewGate(func() bool {
		g.looks.Add(1)
		return g.look == nil || g.look()
	}, func() { g.left.Add(1) })
	c.Gate = g.gate
	c.Layout = m.Modern(c.Size)
	g.env = newEnv(t, m, c)
	return g
}

// inFlight offers and takes a chain with four bytes each way, and one more that waits, and
// pushes a third.
func (g *gated) inFlight(t *testing.T, c *vring.Chain) {
	t.Helper()
	for head := uint16(0); head < 6; head += 2 {
		g.r.Chain(head, vringtest.Readable(g.Alloc(4, 1), 4), vringtest.Writable(g.Alloc(4, 1), 4))
	}
	g.r.Offer(0, 2, 4)
	var done vring.Chain
	g.pop(t, &done)
	g.q.Push(&done)
	g.pop(t, c)
}

// once is a system call that moves a byte.
func once(v [][]byte) (int, error) {
	v[0][0]++
	return 1, nil
}

// accesses are all the ways through the gate that a backend has, Publish last.
func (g *gated) accesses(c *vring.Chain) map[string]func() error {
	return map[string]func() error{
		"Pop":     func() error { _, err := g.q.Pop(&vring.Chain{}); return err },
		"Read":    func() error { _, err := c.Read(make([]byte, 1)); return err },
		"Write":   func() error { _, err := c.Write(make([]byte, 1)); return err },
		"Fill":    func() error { _, err := c.Fill(1, once); return err },
		"Drain":   func() error { _, err := c.Drain(1, once); return err },
		"Arm":     func() error { _, err := g.q.Arm(); return err },
		"Show":    g.q.Show,
		"Publish": func() error { _, err := g.q.Publish(); return err },
	}
}

func TestGate_ShutLetsNothingIn(t *testing.T) {
	for _, name := range []string{"Pop", "Read", "Write", "Fill", "Drain", "Arm", "Show", "Publish"} {
		t.Run(name, func(t *testing.T) {
			g := newGated(t, shmem.NewHeap(1<<14), size(8))
			var c vring.Chain
			g.inFlight(t, &c)
			assert.Assert(t, g.gate.Shut())
			assert.Assert(t, g.gate.Empty())
			before := g.Snapshot()
			assert.Equal(t, g.accesses(&c)[name](), vring.ErrShut)
			assert.NilError(t, before.Changed())
			assert.Equal(t, g.left.Load(), int32(1))
			assert.NilError(t, g.q.Broken())

			// What was pushed is dropped, and nothing of it comes later.
			g.q.Push(&c)
			_, err := g.q.Publish()
			assert.Equal(t, err, vring.ErrShut)
			assert.Equal(t, g.q.Pending(), 0)
			_, err = g.q.Available()
			assert.Equal(t, err, vring.ErrShut)
			assert.NilError(t, before.Changed())
		})
	}
}

func TestGate_LookEndsTheSession(t *testing.T) {
	for _, name := range []string{"Pop", "Read", "Write", "Fill", "Drain", "Arm", "Show", "Publish"} {
		t.Run(name, func(t *testing.T) {
			g := newGated(t, shmem.NewHeap(1<<14), size(8))
			var c vring.Chain
			g.inFlight(t, &c)
			access := g.accesses(&c)[name]
			g.looks.Store(0)
			assert.NilError(t, access())
			assert.Equal(t, g.looks.Load(), int32(1))
			g.q.Push(&vring.Chain{})

			g = newGated(t, shmem.NewHeap(1<<14), size(8))
			g.inFlight(t, &c)
			g.look = func() bool { return false }
			before := g.Snapshot()
			assert.Equal(t, g.accesses(&c)[name](), vring.ErrShut)
			assert.NilError(t, before.Changed())
			assert.Equal(t, g.left.Load(), int32(1)) // to be told, not to be asked
			assert.Assert(t, g.gate.Empty())
		})
	}
}

func TestGate_ShutDuringAnAccess(t *testing.T) {
	g := newGated(t, shmem.NewHeap(1<<14), size(8))
	var c vring.Chain
	g.inFlight(t, &c)
	g.look = func() bool { // in the middle of the access
		assert.Check(t, !g.gate.Empty())
		assert.Check(t, !g.gate.TryHold())
		assert.Check(t, !g.gate.Shut())
		assert.Check(t, g.left.Load() == 0)
		return true
	}
	before := g.Snapshot()
	_, err := c.Write([]byte("ok")) // begun in time, so it goes through
	assert.NilError(t, err)
	assert.ErrorContains(t, before.Changed(), "was")
	assert.Equal(t, g.left.Load(), int32(1))
	assert.Assert(t, g.gate.Empty())
	before = g.Snapshot()
	_, err = c.Write([]byte("x"))
	assert.Equal(t, err, vring.ErrShut)
	assert.NilError(t, before.Changed())
}

func TestGate_HoldKeepsAccessesWaiting(t *testing.T) {
	g := newGated(t, shmem.NewHeap(1<<14), size(8))
	var c vring.Chain
	g.inFlight(t, &c)
	assert.Assert(t, g.gate.TryHold())
	assert.Assert(t, !g.gate.TryHold())
	before := g.Snapshot()
	var (
		worker sync.WaitGroup
		wrote  atomic.Bool
	)
	worker.Go(func() {
		_, err := c.Write([]byte("held"))
		assert.Check(t, err == nil)
		wrote.Store(true)
	})
	for range 1000 {
		runtime.Gosched() // the worker has had its chances
		assert.Assert(t, !wrote.Load())
	}
	assert.NilError(t, before.Changed()) // the race detector would see a store beside this, too
	assert.Equal(t, g.looks.Load(), int32(2))
	g.gate.Release()
	worker.Wait()
	assert.Assert(t, wrote.Load())
}

// Workers that never let go meet a transport that holds, releases and at last shuts. Not one byte
// moves while it holds, or once it has seen the shut gate empty. The memory is the heap's so that
// the race detector watches both sides of the gate.
func TestGate_Concurrent(t *testing.T) {
	for range rounds(30) {
		g := newGated(t, shmem.NewHeap(1<<14), size(8))
		var chains [2]vring.Chain
		for head := range uint16(8) {
			g.r.Put(head, vringtest.Writable(g.Alloc(64, 1), 64))
		}
		g.r.Offer(0, 1, 2, 3, 4, 5, 6, 7)
		g.pop(t, &chains[0])
		g.pop(t, &chains[1])

		var (
			workers sync.WaitGroup
			begun   sync.WaitGroup
			out     atomic.Int32 // workers that have met the shut gate
			stop    atomic.Bool
		)
		// work repeats an access until the test is over, far beyond the end of the session.
		work := func(access func(i int) error) {
			begun.Add(1)
			workers.Go(func() {
				begun.Done()
				for i, met := 0, false; !stop.Load(); i++ {
					if access(i) == vring.ErrShut && !met {
						met = true
						out.Add(1)
					}
				}
			})
		}
		for i := range chains {
			c := &chains[i]
			work(func(i int) error {
				if c.Writable() == 0 {
					_, err := c.Read(make([]byte, 1))
					if err != nil && err != vring.ErrShut {
						_, err = g.q.Available() // io.EOF needs no gate
					}
					return err
				}
				_, err := c.Write([]byte{byte(i)})
				return err
			})
		}
		work(func(i int) error { // the owner
			var c vring.Chain
			if ok, err := g.q.Pop(&c); !ok && err != nil {
				return err
			}
			g.q.Push(&c)
			if _, err := g.q.Publish(); err != nil {
				return err
			}
			_, err := g.q.Arm()
			return err
		})
		begun.Wait()
		for range 5 {
			if g.gate.TryHold() {
				before := g.Snapshot()
				assert.NilError(t, before.Changed())
				g.gate.Release()
			}
		}
		for empty := g.gate.Shut(); !empty; empty = g.gate.Empty() {
			runtime.Gosched()
		}
		before := g.Snapshot()
		for out.Load() < 3 {
			runtime.Gosched()
		}
		assert.NilError(t, before.Changed())
		stop.Store(true)
		workers.Wait()
		assert.NilError(t, before.Changed())
		assert.Assert(t, g.left.Load() > 0)
	}
}
