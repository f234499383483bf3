package vring_test

import (
	"errors"
	"io"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// window is the driver address of the memory of most tests: no low bits, and not an offset.
const window = 0x4000_0000

// An env is one queue with a driver in front of it.
type env struct {
	*vringtest.Memory
	r *vringtest.Ring
	c vring.Config
	q *vring.Queue
}

// newEnv makes an env on a ring that lies in m already.
func newEnv(t testing.TB, m *vringtest.Memory, c vring.Config) *env {
	t.Helper()
	e := &env{Memory: m, r: m.NewRing(c.Layout), c: c}
	e.r.Reset(c.Start)
	e.q = newQueue(t, m, e.r, c)
	return e
}

// newMemory is memory in which every byte that is not given a value has one that shows.
func newMemory(r *shmem.Region) *vringtest.Memory {
	m := vringtest.NewMemory(r, window)
	m.Fill()
	return m
}

func newQueue(t testing.TB, m *vringtest.Memory, r *vringtest.Ring, c vring.Config) *vring.Queue {
	t.Helper()
	c.Layout = r.Layout
	q, err := vring.New(m.Space, c)
	assert.NilError(t, err)
	return q
}

var layouts = []struct {
	name string
	make func(m *vringtest.Memory, size uint16) vring.Layout
}{
	{"legacy", func(m *vringtest.Memory, size uint16) vring.Layout { return m.Legacy(size, 4096) }},
	{"legacy64", func(m *vringtest.Memory, size uint16) vring.Layout { return m.Legacy(size, 64) }},
	{"modern", func(m *vringtest.Memory, size uint16) vring.Layout { return m.Modern(size) }},
}

var memories = []struct {
	name string
	make func(t testing.TB, size int) *shmem.Region
}{
	{"normal", memfd},
	{"strict8", func(_ testing.TB, size int) *shmem.Region { return strict(size, 8) }},
	{"strict4", func(_ testing.TB, size int) *shmem.Region { return strict(size, 4) }},
}

// memfd is memory that the race detector does not watch: both sides may use it at once.
func memfd(t testing.TB, size int) *shmem.Region {
	r, err := shmem.NewMemfd("vring", int64(size))
	assert.NilError(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func strict(size, width int) *shmem.Region {
	r, _ := shmem.NewStrict(size, width)
	return r
}

// matrix runs fn on every layout and kind of memory, without and with EVENT_IDX.
func matrix(t *testing.T, c vring.Config, fn func(t *testing.T, e *env)) {
	for _, memory := range memories {
		for _, layout := range layouts {
			for _, c.EventIdx = range []bool{false, true} {
				name := memory.name + "/" + layout.name
				if c.EventIdx {
					name += "/eventidx"
				}
				t.Run(name, func(t *testing.T) {
					m := newMemory(memory.make(t, 1<<16))
					c := c
					c.Layout = layout.make(m, c.Size)
					fn(t, newEnv(t, m, c))
				})
			}
		}
	}
}

// simple runs fn once, where layout and memory play no part.
func simple(t *testing.T, c vring.Config) *env {
	t.Helper()
	m := newMemory(memfd(t, 1<<16))
	c.Layout = m.Modern(c.Size)
	return newEnv(t, m, c)
}

// size is the start of a Config.
func size(n uint16) vring.Config { return vring.Config{Layout: vring.Layout{Size: n}} }

// pop takes a chain that has to be there.
func (e *env) pop(t testing.TB, c *vring.Chain) {
	t.Helper()
	if ok, err := e.q.Pop(c); !ok || err != nil {
		t.Fatalf("no chain: %v", err)
	}
}

// publish publishes what has to be publishable.
func (e *env) publish(t testing.TB) (notify bool) {
	t.Helper()
	notify, err := e.q.Publish()
	if err != nil {
		t.Fatal(err)
	}
	return notify
}

// used takes an entry of the used ring that has to be there.
func (e *env) used(t testing.TB) vringtest.Elem {
	t.Helper()
	elem, ok := e.r.Used()
	if !ok {
		t.Fatal("nothing in the used ring")
	}
	return elem
}

// echo is a device: it reads everything, writes the complement of it as far as there is room,
// and gives the chain back.
func (e *env) echo(t testing.TB) {
	t.Helper()
	var c vring.Chain
	e.pop(t, &c)
	in, err := io.ReadAll(&c)
	assert.NilError(t, err)
	for i := range in {
		in[i] = ^in[i]
	}
	_, err = c.Write(in[:min(uint64(len(in)), c.Writable())])
	assert.NilError(t, err)
	e.q.Push(&c)
	e.publish(t)
}

// good offers one request at a head and requires the answer.
func (e *env) good(t testing.TB, head uint16) {
	t.Helper()
	out := e.Alloc(4, 1)
	e.r.Chain(head, vringtest.Readable(e.Buffer([]byte("good")), 4), vringtest.Writable(out, 4))
	e.r.Offer(head)
	e.echo(t)
	assert.Equal(t, e.used(t), vringtest.Elem{ID: uint32(head), Len: 4})
	assert.Equal(t, string(e.Read(out, 4)), "\x98\x90\x90\x9b")
}

// reset is what a driver does after a fault of the ring, and the proof that it helps.
func (e *env) reset(t testing.TB) {
	t.Helper()
	e.r.Reset(e.c.Start)
	e.q = newQueue(t, e.Memory, e.r, e.c)
	e.good(t, 0)
}

// breaks requires that the next Pop breaks the ring because of want, that nothing but the
// pieces in free was written, that the queue stays broken and silent, and that a reset helps.
func (e *env) breaks(t testing.TB, want error, free ...vringtest.Range) {
	t.Helper()
	before := e.Snapshot()
	var c vring.Chain
	ok, err := e.q.Pop(&c)
	assert.Assert(t, !ok)
	assert.ErrorIs(t, err, want)
	broken := (*vring.RingError)(nil)
	assert.Assert(t, errors.As(err, &broken), "class B: %v", err)
	assert.Equal(t, broken.Queue, e.c.Index)

	assert.Equal(t, e.q.Broken(), err)
	_, again := e.q.Pop(&c)
	assert.Equal(t, again, err)
	_, again = e.q.Arm()
	assert.Equal(t, again, err)
	_, again = e.q.Publish()
	assert.Equal(t, again, err)
	assert.Equal(t, e.q.Show(), err)
	assert.NilError(t, before.Changed(free...))
	e.reset(t)
}

// refuses requires that the next Pop refuses the chain at head because of want, gives it back
// with length 0, writes nothing else, and that the queue goes on.
func (e *env) refuses(t testing.TB, head uint16, want error, free ...vringtest.Range) {
	t.Helper()
	before := e.Snapshot()
	var c vring.Chain
	ok, err := e.q.Pop(&c)
	assert.Assert(t, !ok)
	assert.ErrorIs(t, err, want)
	refused := (*vring.ChainError)(nil)
	assert.Assert(t, errors.As(err, &refused), "class A: %v", err)
	assert.Equal(t, *refused, vring.ChainError{Queue: e.c.Index, Head: int(head), Err: refused.Err})

	_, err = c.Write([]byte("x"))
	assert.Equal(t, err, vring.ErrDone)
	_, err = c.Read(make([]byte, 1))
	assert.Equal(t, err, vring.ErrDone)
	e.q.Push(&c) // must not give it back again
	e.publish(t)
	assert.Equal(t, e.used(t), vringtest.Elem{ID: uint32(head)})
	_, more := e.r.Used()
	assert.Assert(t, !more, "given back twice")
	assert.NilError(t, before.Changed(append(free, e.r.UsedRange())...))
	assert.NilError(t, e.q.Broken())
	e.good(t, head)
	e.reset(t)
}
