package vring_test

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

func TestDRV_05_ChainOf4GiB(t *testing.T) {
	const big = 64 << 20 // never touched, so never there
	region := memfd(t, big)
	space, err := shmem.NewSpace(shmem.Window{Addr: window, Region: region})
	assert.NilError(t, err)
	m := vringtest.Within(space, window, 1<<16)
	c := size(128)
	c.Layout = m.Modern(128)
	e := newEnv(t, m, c)
	d := vringtest.Split(vringtest.Writable(window, big), big/2)
	var all []vringtest.Desc
	for len(all) < 128 {
		all = append(all, d...)
	}
	e.r.Chain(0, all...)
	e.r.Offer(0)
	e.refuses(t, 0, vring.ErrTooBig)

	all[127].Len-- // the most that a length of 32 bits can say
	e.r.Chain(0, all...)
	e.r.Offer(0)
	var chain vring.Chain
	e.pop(t, &chain)
	assert.Equal(t, chain.Writable(), uint64(1<<32-1))
}

func TestDRV_06_BufferOutsideTheMemory(t *testing.T) {
	// Memory, a hole, memory, and memory up to the end of the address space.
	low, high, top := shmem.NewHeap(1<<14), shmem.NewHeap(1<<12), shmem.NewHeap(1<<12)
	const (
		hole   = window + 1<<14
		second = hole + 1<<12
		last   = 1<<64 - 1<<12
	)
	space, err := shmem.NewSpace(
		shmem.Window{Addr: window, Region: low},
		shmem.Window{Addr: second, Region: high},
		shmem.Window{Addr: last, Region: top},
		shmem.Window{Addr: 0, Region: high},
	)
	assert.NilError(t, err)
	m := vringtest.Within(space, window, 1<<14)
	m.Fill()
	c := indirect(8)
	c.Layout = m.Modern(8)
	e := newEnv(t, m, c)
	for _, tt := range []struct {
		name string
		addr uint64
		n    uint32
		ok   bool
	}{
		{"below", window - 1, 1, false},
		{"from below", window - 1, 2, false},
		{"into the hole", hole - 1, 2, false},
		{"in the hole", hole, 1, false},
		{"over the hole", hole - 1, 1<<12 + 2, false},
		{"out of the hole", second - 1, 2, false},
		{"behind", second + 1<<12, 1, false},
		{"huge", window, 1<<32 - 1, false},
		{"around the end", 1<<64 - 1, 2, false},
		{"around the end, huge", last, 1<<32 - 1, false},
		{"first byte", window, 1, true},
		{"up to the hole", hole - 7, 7, true},
		{"behind the hole", second, 1 << 12, true},
		{"up to the end", last, 1 << 12, true},
		{"last byte", 1<<64 - 1, 1, true},
	} {
		for _, write := range []uint16{0, vring.DescWrite} {
			d := vringtest.Desc{Addr: tt.addr, Len: tt.n, Flags: write}
			for _, table := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/flags=%d/table=%t", tt.name, write, table), func(t *testing.T) {
					if table {
						d = e.Table(d)
					}
					e.r.Put(4, d)
					e.r.Offer(4)
					if !tt.ok {
						e.refuses(t, 4, vring.ErrAddress)
						return
					}
					var c vring.Chain
					e.pop(t, &c)
					assert.Equal(t, c.Readable()+c.Writable(), uint64(tt.n))
					e.q.Push(&c)
					e.publish(t)
					e.used(t)
				})
			}
		}
	}
	for _, addr := range []uint64{window - 16, hole, hole - 31, second - 16, second + 1<<12 - 31, 1<<64 - 31} {
		e.r.Put(4, vringtest.Desc{Addr: addr, Len: 32, Flags: vring.DescIndirect})
		e.r.Offer(4)
		e.breaks(t, vring.ErrAddress)
	}
}

// A buffer on top of the rings is the driver's own problem, and the device sees what it saw
// when it took the chain.
func TestDRV_07_BufferOverTheRings(t *testing.T) {
	matrix(t, size(8), func(t *testing.T, e *env) {
		out := e.Alloc(4, 1)
		table := vringtest.Range{Addr: e.r.Desc, Len: e.r.DescBytes()}
		used := e.r.UsedRange()
		e.r.Chain(0, vringtest.Writable(table.Addr, uint32(table.Len)), vringtest.Writable(used.Addr, uint32(used.Len)), vringtest.Writable(out, 4))
		e.r.Offer(0)
		before := e.Snapshot()
		var c vring.Chain
		e.pop(t, &c)
		junk := make([]byte, table.Len+used.Len)
		for i := range junk {
			junk[i] = 0xc3
		}
		_, err := c.Write(junk)
		assert.NilError(t, err)
		_, err = c.Write([]byte("tail"))
		assert.NilError(t, err)
		assert.Equal(t, string(e.Read(out, 4)), "tail")
		e.q.Push(&c)
		e.publish(t)
		assert.Equal(t, e.r.UsedIdx(), uint16(1))
		assert.Equal(t, e.used(t), vringtest.Elem{ID: 0, Len: uint32(len(junk) + 4)})
		assert.NilError(t, before.Changed(table, used, vringtest.Range{Addr: out, Len: 4}))
		e.reset(t)
	})
}

func TestDRV_11_ReadableBehindWritable(t *testing.T) {
	matrix(t, indirect(8), func(t *testing.T, e *env) {
		in, out := vringtest.Readable(e.Alloc(4, 1), 4), vringtest.Writable(e.Alloc(4, 1), 4)
		none := vringtest.Writable(0, 0)
		for _, d := range [][]vringtest.Desc{
			{out, in}, {in, out, in}, {in, out, in, out}, {none, in}, {out, {}}, {out, e.Table(in)}, {e.Table(out, in)},
		} {
			e.r.Chain(6, d...)
			e.r.Offer(6)
			e.refuses(t, 6, vring.ErrOrder)
		}
	})
}

func TestDRV_12_EmptyBuffers(t *testing.T) {
	matrix(t, size(8), func(t *testing.T, e *env) {
		for n := 1; n <= 8; n++ {
			d := make([]vringtest.Desc, n) // at address 0, where nothing is
			e.r.Chain(0, d...)
			e.r.Offer(0)
			var c vring.Chain
			e.pop(t, &c)
			assert.Equal(t, c.Descriptors(), n)
			assert.Equal(t, c.Readable()+c.Writable(), uint64(0))
			_, err := c.Read(make([]byte, 1))
			assert.Equal(t, err, io.EOF)
			_, err = c.Read(nil)
			assert.NilError(t, err)
			_, err = c.Write([]byte{1})
			assert.Equal(t, err, io.ErrShortWrite)
			_, err = c.Write(nil)
			assert.NilError(t, err)
			e.q.Push(&c)
			e.publish(t)
			assert.Equal(t, e.used(t), vringtest.Elem{})
		}
		e.reset(t)
	})
}

// One used entry for each available entry, whatever they share.
func TestDRV_13_SameHeadTwice(t *testing.T) {
	matrix(t, size(8), func(t *testing.T, e *env) {
		out := e.Alloc(4, 1)
		e.r.Chain(2, vringtest.Writable(out, 2), vringtest.Writable(out+2, 2))
		e.r.Offer(2, 2, 3, 2) // and 3 is the tail of 2
		var chains [4]vring.Chain
		for i := range chains {
			e.pop(t, &chains[i])
		}
		for i := range chains {
			_, err := chains[3-i].Write([]byte("abcd")[:i%3])
			assert.NilError(t, err)
			e.q.Push(&chains[3-i])
			e.q.Push(&chains[3-i]) // a backend's mistake, which must not show
		}
		e.publish(t)
		for i, head := range []uint32{2, 3, 2, 2} {
			assert.Equal(t, e.used(t), vringtest.Elem{ID: head, Len: uint32(i % 3)})
		}
		_, more := e.r.Used()
		assert.Assert(t, !more)
		e.reset(t)
	})
}

func TestDRV_14_ChainIsASnapshot(t *testing.T) {
	matrix(t, indirect(8), func(t *testing.T, e *env) {
		in, out := e.Buffer([]byte("before")), e.Alloc(6, 1)
		d := []vringtest.Desc{vringtest.Readable(in, 6), vringtest.Writable(out, 6)}
		e.r.Chain(0, d...)
		table := e.Table(d...)
		e.r.Put(2, table)
		e.r.Offer(0, 2)
		var chains [2]vring.Chain
		e.pop(t, &chains[0])
		e.pop(t, &chains[1])
		before := e.Snapshot()
		junk := vringtest.Desc{Addr: window, Len: 1 << 31, Flags: 7, Next: 99}
		for i := range uint16(8) {
			e.r.Put(i, junk)
			e.r.SetAvail(i, 0xffff)
		}
		e.TableAt(table.Addr, junk, junk)
		for i := range chains {
			text, err := io.ReadAll(&chains[i])
			assert.NilError(t, err)
			assert.Equal(t, string(text), "before")
			_, err = chains[i].Write([]byte("answer"))
			assert.NilError(t, err)
			e.q.Push(&chains[i])
		}
		e.publish(t)
		assert.Equal(t, e.used(t), vringtest.Elem{ID: 0, Len: 6})
		assert.Equal(t, e.used(t), vringtest.Elem{ID: 2, Len: 6})
		assert.NilError(t, before.Changed(e.r.UsedRange(), vringtest.Range{Addr: out, Len: 6},
			vringtest.Range{Addr: e.r.Desc, Len: e.r.DescBytes()}, vringtest.Range{Addr: e.r.Avail, Len: e.r.AvailBytes()},
			vringtest.Range{Addr: table.Addr, Len: 32}))
		e.reset(t)
	})
}

// A driver that rewrites a descriptor all the time gets what it had at one moment, never the
// flags of one and the next field of another, and never more memory than either of them offers.
func TestDRV_14_DescriptorChangesWhileItIsRead(t *testing.T) {
	e := simple(t, size(4))
	out := e.Alloc(8, 1)
	const tail = 3
	e.r.Put(tail, vringtest.Writable(out+4, 4))
	desc := e.Span(e.r.Desc, e.r.DescBytes())
	// The second half of a descriptor is one store, and one load.
	long := uint64(4) | uint64(vring.DescWrite|vring.DescNext)<<32 | tail<<48
	short := uint64(4) | uint64(vring.DescWrite)<<32 | 0xffff<<48
	far := uint64(1) << 63
	e.r.Put(0, vringtest.Writable(out, 4))

	var (
		driver sync.WaitGroup
		stop   atomic.Bool
	)
	driver.Go(func() {
		for i := 0; !stop.Load(); i++ {
			desc.Store64Plain(8, long)
			if i&3 == 0 {
				desc.Store64Plain(0, far)
			}
			desc.Store64Plain(8, short)
			desc.Store64Plain(0, out)
		}
	})
	before := e.Snapshot()
	var (
		c    vring.Chain
		seen [3]int
	)
	for range rounds(1_000_000) {
		e.r.Offer(0)
		ok, err := e.q.Pop(&c)
		switch {
		case ok && (c.Descriptors() == 1 && c.Writable() == 4 || c.Descriptors() == 2 && c.Writable() == 8):
			seen[c.Descriptors()]++
			if _, err := c.Write([]byte("12345678")[:c.Writable()]); err != nil {
				t.Error(err)
			}
			e.q.Push(&c)
		case e.q.Broken() == nil && err != nil:
			seen[0]++ // far away
		default:
			t.Errorf("a chain of %d descriptors with %d bytes: %v", c.Descriptors(), c.Writable(), err)
		}
		if _, err := e.q.Publish(); err != nil || t.Failed() {
			t.Error(err)
			break
		}
	}
	stop.Store(true)
	driver.Wait()
	t.Log("refused, one descriptor, two:", seen)
	assert.NilError(t, before.Changed(e.r.UsedRange(), vringtest.Range{Addr: out, Len: 8},
		vringtest.Range{Addr: e.r.Desc, Len: 16}, vringtest.Range{Addr: e.r.Avail, Len: e.r.AvailBytes()}))
	e.reset(t)
}

// A request for nearly 4 GiB costs what the device does with it, no more.
func TestDRV_18_EnormousRequest(t *testing.T) {
	const big = 64 << 20
	region := memfd(t, big)
	space, err := shmem.NewSpace(shmem.Window{Addr: window, Region: region})
	assert.NilError(t, err)
	m := vringtest.Within(space, window, 1<<16)
	c := size(64)
	c.Layout = m.Modern(64)
	e := newEnv(t, m, c)
	var d []vringtest.Desc
	for range 63 {
		d = append(d, vringtest.Writable(window+1<<20, 63<<20))
	}
	e.r.Chain(0, d...)
	e.r.Offer(0)
	var chain vring.Chain
	e.pop(t, &chain)
	assert.Equal(t, chain.Writable(), uint64(63*63<<20))
	_, err = chain.Write([]byte("no more than this"))
	assert.NilError(t, err)
	e.q.Push(&chain)
	e.publish(t)
	assert.Equal(t, e.used(t), vringtest.Elem{ID: 0, Len: 17})
	if !raceEnabled {
		allocs := testing.AllocsPerRun(100, func() {
			e.r.Offer(0)
			if ok, err := e.q.Pop(&chain); !ok || err != nil {
				t.Error(err)
			}
			e.q.Push(&chain)
			if _, err := e.q.Publish(); err != nil {
				t.Error(err)
			}
		})
		assert.Equal(t, allocs, 0.0)
	}
	e.reset(t)
}

func TestDRV_44_UnknownFlags(t *testing.T) {
	matrix(t, size(8), func(t *testing.T, e *env) {
		out := e.Alloc(4, 1)
		for bit := 3; bit < 16; bit++ {
			in, out := vringtest.Readable(e.Buffer([]byte("ping")), 4), vringtest.Writable(out, 4)
			in.Flags |= 1 << bit
			out.Flags |= 1 << bit
			e.r.Chain(0, in, out)
			e.r.Offer(0)
			e.echo(t)
			assert.Equal(t, e.used(t), vringtest.Elem{ID: 0, Len: 4})
			assert.Equal(t, string(e.Read(out.Addr, 4)), "\x8f\x96\x91\x98")
		}
		e.reset(t)
	})
}

// The longest chain of the smallest buffers: it is one unit of work per descriptor, which
// Walked tells, and the second one costs no memory.
func TestDRV_45_OneByteDescriptors(t *testing.T) {
	const n = vring.MaxSize
	m := newMemory(memfd(t, 2<<20))
	c := indirect(n)
	c.Layout = m.Modern(n)
	e := newEnv(t, m, c)
	out := m.Alloc(n, 1)
	e.r.Chain(0, vringtest.Split(vringtest.Writable(out, n), 1)...)
	var chain vring.Chain
	serve := func() {
		e.r.Offer(0)
		e.pop(t, &chain)
		e.q.Push(&chain)
		e.publish(t)
	}
	serve()
	assert.Equal(t, chain.Descriptors(), n)
	assert.Equal(t, chain.Writable(), uint64(n))
	assert.Equal(t, e.q.Walked(), uint64(n))
	if !raceEnabled {
		assert.Equal(t, testing.AllocsPerRun(3, serve), 0.0)
	}

	// Refused at the last descriptor, it has cost the same; one behind a table costs one more.
	walked := e.q.Walked()
	e.r.Put(n-1, vringtest.Readable(0, 1))
	e.r.Offer(0)
	_, err := e.q.Pop(&chain)
	assert.ErrorIs(t, err, vring.ErrOrder)
	assert.Equal(t, e.q.Walked()-walked, uint64(n))
	walked = e.q.Walked()
	e.r.Put(0, m.Table(vringtest.Split(vringtest.Writable(out, n), 1)...))
	e.r.Offer(0)
	e.pop(t, &chain)
	assert.Equal(t, e.q.Walked()-walked, uint64(n)+1)
	e.q.Push(&chain)
	e.publish(t)
	e.r.Reset(0)
	e.q = newQueue(t, m, e.r, e.c)
	e.good(t, 0)
}
