package vring_test

import (
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// stream runs a driver in a goroutine of its own against a device in this one: n requests, of
// which request i is in answered by out. The driver believes each used entry as soon as the index
// shows it.
func stream(t *testing.T, n int, device func(e *env, c *vring.Chain, i int), check func(e *env, i int, elem vringtest.Elem, out []byte) bool) {
	const size, room = 8, 16
	m := newMemory(memfd(t, 1<<16))
	c := vring.Config{Layout: m.Modern(size)}
	e := newEnv(t, m, c)
	out := m.Alloc(size*room, 64)

	var (
		driver sync.WaitGroup
		served atomic.Bool
	)
	driver.Go(func() {
		offered, poison, got := 0, make([]byte, room), make([]byte, room)
		for done, spins := 0, 0; done < n; {
			for offered < n && offered-done < size {
				head := uint16(offered) & (size - 1)
				m.Write(out+uint64(head)*room, poison)
				e.r.Put(head, vringtest.Writable(out+uint64(head)*room, uint32(1+offered%room)))
				e.r.Offer(head) // the descriptor at the last moment
				offered++
			}
			last := served.Load()
			elem, ok := e.r.Used()
			if !ok {
				if last {
					t.Errorf("%d requests have come back, not %d", done, n)
					return
				}
				spins++
				relax(spins)
				continue
			}
			m.Span(out+uint64(elem.ID&(size-1))*room, room).ReadAt(got, 0)
			if !check(e, done, elem, got) {
				t.Errorf("request %d: %v is not its entry", done, elem)
				return
			}
			done++
		}
	})
	var chain vring.Chain
	for i, spins := 0, 0; i < n && !t.Failed(); {
		ok, err := e.q.Pop(&chain)
		if err != nil {
			t.Error(err)
			break
		}
		if !ok {
			spins++
			relax(spins)
			continue
		}
		device(e, &chain, i)
		i++
	}
	served.Store(true)
	driver.Wait()
}

func rounds(n int) int {
	if testing.Short() || raceEnabled {
		return n / 10
	}
	return n
}

// The index must not show an entry before it is complete, nor bytes that are not there yet.
func TestRING_09_EntryBeforeIndex(t *testing.T) {
	for _, visible := range []struct {
		name string
		show func(q *vring.Queue) error
	}{
		{"publish", func(q *vring.Queue) error { _, err := q.Publish(); return err }},
		{"show", (*vring.Queue).Show},
	} {
		t.Run(visible.name, func(t *testing.T) {
			stream(t, rounds(300_000), func(e *env, c *vring.Chain, i int) {
				if _, err := c.Write([]byte{byte(i), byte(i >> 8)}[:min(2, c.Writable())]); err != nil {
					t.Error(err)
				}
				e.q.Push(c)
				if err := visible.show(e.q); err != nil {
					t.Error(err)
				}
			}, func(e *env, i int, elem vringtest.Elem, out []byte) bool {
				n := min(2, uint32(1+i%16))
				return elem == vringtest.Elem{ID: uint32(i % 8), Len: n} && out[0] == byte(i) && (n < 2 || out[1] == byte(i>>8))
			})
		})
	}
}

// The length is never more than what was written from the first writable byte on.
func TestRING_10_LengthIsWhatWasWritten(t *testing.T) {
	matrix(t, size(8), func(t *testing.T, e *env) {
		out := e.Alloc(12, 1)
		for wrote := range 14 {
			e.Write(out, []byte("............"))
			e.r.Chain(0, vringtest.Split(vringtest.Writable(out, 12), 5)...)
			e.r.Offer(0)
			var c vring.Chain
			e.pop(t, &c)
			n, err := c.Write([]byte("0123456789abcd")[:wrote])
			if wrote > 12 {
				assert.Equal(t, err, io.ErrShortWrite)
			} else {
				assert.NilError(t, err)
			}
			assert.Equal(t, n, min(wrote, 12))
			assert.Equal(t, c.Writable(), uint64(12-n))
			e.q.Push(&c)
			e.publish(t)
			assert.Equal(t, e.used(t), vringtest.Elem{ID: 0, Len: uint32(n)})
			assert.Equal(t, string(e.Read(out, 12)), "0123456789ab"[:n]+"............"[n:])
		}
	})
}

// What Available shows may be taken at once: ring entry, descriptor and buffer are there.
func TestRING_13_ChainBehindTheIndex(t *testing.T) {
	stream(t, rounds(300_000), func(e *env, c *vring.Chain, i int) {
		if int(c.Head()) != i%8 || c.Writable() != uint64(1+i%16) {
			t.Errorf("request %d: head %d with %d bytes", i, c.Head(), c.Writable())
		}
		e.q.Push(c)
		if _, err := e.q.Publish(); err != nil {
			t.Error(err)
		}
	}, func(e *env, i int, elem vringtest.Elem, _ []byte) bool { return elem.ID == uint32(i%8) })
}

// Our choice: the device starts at index 0 whatever the used ring holds, and the first Arm or
// Publish puts flags and index in order.
func TestRING_24_PoisonedUsedRing(t *testing.T) {
	matrix(t, size(8), func(t *testing.T, e *env) {
		poison := func() {
			e.r.Reset(0)
			p := make([]byte, e.r.UsedBytes())
			for i := range p {
				p[i] = 0xff
			}
			e.Write(e.r.Layout.Used, p)
			e.q = newQueue(t, e.Memory, e.r, e.c)
		}
		poison()
		pending, err := e.q.Arm()
		assert.NilError(t, err)
		assert.Assert(t, !pending)
		assert.Equal(t, e.r.UsedFlags(), uint16(0))
		assert.Equal(t, e.r.UsedIdx(), uint16(0))
		e.good(t, 1)

		poison()
		out := e.Alloc(1, 1)
		e.r.Put(2, vringtest.Writable(out, 1))
		e.r.Offer(2)
		var c vring.Chain
		e.pop(t, &c)
		e.q.Push(&c)
		e.publish(t)
		assert.Equal(t, e.r.UsedFlags(), uint16(0))
		assert.Equal(t, e.r.UsedIdx(), uint16(1))
		assert.Equal(t, e.r.UsedElem(0), vringtest.Elem{ID: 2})
	})
}
