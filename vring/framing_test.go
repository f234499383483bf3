package vring_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// framings calls fn with every way the tests know to cut a request into descriptors: in one
// piece, in two at every byte, in single bytes, with empty ones between, and each of these with
// all or the rest of it in an indirect table.
func framings(e *env, in, out vringtest.Desc, fn func(name string, d []vringtest.Desc)) {
	direct := map[string][]vringtest.Desc{
		"whole": {in, out},
		"bytes": append(vringtest.Split(in, 1), vringtest.Split(out, 1)...),
		"empty": {{}, in, {}, {Flags: vring.DescWrite}, out, {Flags: vring.DescWrite, Addr: 1}},
	}
	cut := func(d vringtest.Desc, k uint32) []vringtest.Desc {
		tail := d
		tail.Addr, tail.Len, d.Len = d.Addr+uint64(k), d.Len-k, k
		return []vringtest.Desc{d, tail}
	}
	for k := uint32(1); k < in.Len; k++ {
		direct[fmt.Sprint("in at ", k)] = append(cut(in, k), out)
	}
	for k := uint32(1); k < out.Len; k++ {
		direct[fmt.Sprint("out at ", k)] = append([]vringtest.Desc{in}, cut(out, k)...)
	}
	for name, d := range direct {
		fn(name, d)
		if e.c.Indirect {
			fn(name+", indirect", []vringtest.Desc{e.Table(d...)})
			fn(name+", unaligned table", []vringtest.Desc{e.TableAt(e.Alloc(16*uint64(len(d))+1, 16)+1, d...)})
			k := len(d) / 2
			fn(name+", half indirect", append(slices.Clone(d[:k]), e.Table(d[k:]...)))
		}
	}
}

func testFraming(t *testing.T, e *env) {
	request := []byte("head,body")
	in := vringtest.Readable(e.Buffer(request), uint32(len(request)))
	out := vringtest.Writable(e.Alloc(5, 1), 5)
	poison := bytes.Repeat([]byte{0xee}, 5)
	framings(e, in, out, func(name string, d []vringtest.Desc) {
		e.Write(out.Addr, poison)
		e.r.Chain(3, d...)
		e.r.Offer(3)
		before := e.Snapshot()
		var c vring.Chain
		e.pop(t, &c)
		assert.Equal(t, c.Readable(), uint64(9), name)
		assert.Equal(t, c.Writable(), uint64(5), name)

		got := make([]byte, 100)
		n, err := c.Read(got[:5])
		assert.NilError(t, err, name)
		m, err := c.Read(got[n:]) // one call reads all there is
		assert.NilError(t, err, name)
		assert.Equal(t, string(got[:n+m]), string(request), name)
		_, err = c.Read(got)
		assert.Equal(t, err, io.EOF, name)

		_, err = c.Write([]byte("an "))
		assert.NilError(t, err, name)
		_, err = c.Write([]byte("answer and more"))
		assert.Equal(t, err, io.ErrShortWrite, name)
		e.q.Push(&c)
		e.publish(t)
		assert.Equal(t, e.used(t), vringtest.Elem{ID: 3, Len: 5}, name)
		assert.Equal(t, string(e.Read(out.Addr, 5)), "an an", name)
		assert.NilError(t, before.Changed(vringtest.Range{Addr: out.Addr, Len: 5}, e.r.UsedRange()), name)
	})
	e.reset(t)
}

func TestRING_02_Framing(t *testing.T) {
	c := size(64)
	matrix(t, c, testFraming)
	c.Indirect = true
	t.Run("indirect", func(t *testing.T) { matrix(t, c, testFraming) })
}

// A legacy driver without ANY_LAYOUT has a framing of its own, which is one of these.
func TestRING_27_LegacyFraming(t *testing.T) {
	m := newMemory(memfd(t, 1<<16))
	c := size(64)
	c.Layout = m.Legacy(64, 4096)
	testFraming(t, newEnv(t, m, c))
}

// A buffer may run on from one window into the next, if they adjoin.
func TestFraming_AcrossWindows(t *testing.T) {
	a, b := shmem.NewHeap(4096), shmem.NewHeap(4096)
	space, err := shmem.NewSpace(
		shmem.Window{Addr: window, Region: a},
		shmem.Window{Addr: window + 4096, Region: b},
	)
	assert.NilError(t, err)
	m := vringtest.Within(space, window, 2048)
	c := size(8)
	c.Layout = m.Modern(8)
	e := newEnv(t, m, c)
	e.r.Chain(0, vringtest.Readable(window+4096-3, 6), vringtest.Writable(window+4096-7, 9))
	e.r.Offer(0)
	last, err := a.Span(4096-7, 7)
	assert.NilError(t, err)
	first, err := b.Span(0, 4)
	assert.NilError(t, err)
	last.WriteAt([]byte("....abc"), 0)
	first.WriteAt([]byte("def."), 0)

	var chain vring.Chain
	e.pop(t, &chain)
	assert.Equal(t, chain.Descriptors(), 2)
	in, err := io.ReadAll(&chain)
	assert.NilError(t, err)
	assert.Equal(t, string(in), "abcdef")
	_, err = chain.Write([]byte("123456789"))
	assert.NilError(t, err)
	var got [7]byte
	last.ReadAt(got[:], 0)
	assert.Equal(t, string(got[:]), "1234567")
	first.ReadAt(got[:4], 0)
	assert.Equal(t, string(got[:4]), "89f.")
}

// Neither a good answer nor a refusal writes to what the driver only lets the device read.
func TestRING_04_ReadableStaysUntouched(t *testing.T) {
	matrix(t, size(8), func(t *testing.T, e *env) {
		in := e.Buffer([]byte("only to be read"))
		out := e.Alloc(4, 1)
		frees := vringtest.Range{Addr: out, Len: 4}
		e.r.Chain(0, vringtest.Readable(in, 7), vringtest.Readable(in+7, 8), vringtest.Writable(out, 4))
		e.r.Offer(0)
		before := e.Snapshot()
		var c vring.Chain
		e.pop(t, &c)
		_, err := c.Write([]byte("more than four bytes"))
		assert.Equal(t, err, io.ErrShortWrite)
		e.q.Push(&c)
		e.publish(t)
		assert.Equal(t, e.used(t).Len, uint32(4))
		assert.NilError(t, before.Changed(frees, e.r.UsedRange()))

		e.r.Chain(0, vringtest.Writable(out, 4), vringtest.Readable(in, 15))
		e.r.Offer(0)
		e.refuses(t, 0, vring.ErrOrder)

		e.r.Chain(0, vringtest.Readable(in, 15))
		e.r.Offer(0)
		e.pop(t, &c)
		n, err := c.Write([]byte("x"))
		assert.Equal(t, err, io.ErrShortWrite)
		assert.Equal(t, n, 0)
		e.q.Refuse(&c)
		e.publish(t)
		assert.Equal(t, string(e.Read(in, 15)), "only to be read")
	})
}

// What lies in the writable buffers makes no difference.
func TestRING_05_WritableIsNotRead(t *testing.T) {
	matrix(t, size(8), func(t *testing.T, e *env) {
		in, out := e.Buffer([]byte("question")), e.Alloc(8, 1)
		for _, poison := range []byte{0x00, 0xff} {
			e.Write(out, bytes.Repeat([]byte{poison}, 8))
			e.r.Chain(0, vringtest.Readable(in, 8), vringtest.Writable(out, 8))
			e.r.Offer(0)
			var c vring.Chain
			e.pop(t, &c)
			got := make([]byte, 16)
			n, err := c.Read(got)
			assert.NilError(t, err)
			assert.Equal(t, string(got[:n]), "question")
			assert.DeepEqual(t, got[n:], make([]byte, 8))
			e.q.Push(&c)
			e.publish(t)
			e.used(t)
		}
	})
}

func TestRING_06_TableStaysUntouched(t *testing.T) {
	c := size(8)
	c.Indirect = true
	matrix(t, c, func(t *testing.T, e *env) {
		in, out := vringtest.Readable(e.Buffer([]byte("in")), 2), vringtest.Writable(e.Alloc(2, 1), 2)
		table := e.Table(in, out)
		e.r.Chain(0, in, out)
		e.r.Put(2, table)
		e.r.Put(3, vringtest.Desc{Addr: 1, Len: 1})
		e.r.Offer(0, 2, 3)
		desc, indirect := e.Read(e.r.Desc, e.r.DescBytes()), e.Read(table.Addr, 32)
		e.echo(t)
		e.echo(t)
		var c vring.Chain
		_, err := e.q.Pop(&c)
		assert.ErrorIs(t, err, vring.ErrAddress)
		e.publish(t)
		assert.DeepEqual(t, e.Read(e.r.Desc, e.r.DescBytes()), desc)
		assert.DeepEqual(t, e.Read(table.Addr, 32), indirect)
	})
}

func TestRING_07_WriteFlagOfAnIndirectTable(t *testing.T) {
	c := size(8)
	c.Indirect = true
	matrix(t, c, func(t *testing.T, e *env) {
		out := e.Alloc(4, 1)
		d := e.Table(vringtest.Readable(e.Buffer([]byte("ping")), 4), vringtest.Writable(out, 4))
		d.Flags |= vring.DescWrite
		e.r.Put(6, d)
		e.r.Offer(6)
		e.echo(t)
		assert.Equal(t, e.used(t), vringtest.Elem{ID: 6, Len: 4})
		assert.Equal(t, string(e.Read(out, 4)), "\x8f\x96\x91\x98")
	})
}

func TestRING_08_DirectThenIndirect(t *testing.T) {
	c := size(8)
	c.Indirect = true
	matrix(t, c, func(t *testing.T, e *env) {
		for direct := range 5 {
			text := []byte("abcdefgh")
			out := e.Alloc(8, 1)
			d := append(vringtest.Split(vringtest.Readable(e.Buffer(text), 8), 2), vringtest.Writable(out, 8))
			e.r.Chain(1, append(slices.Clone(d[:direct]), e.Table(d[direct:]...))...)
			e.r.Offer(1)
			e.echo(t)
			assert.Equal(t, e.used(t), vringtest.Elem{ID: 1, Len: 8})
			assert.Equal(t, string(e.Read(out, 8)), "\x9e\x9d\x9c\x9b\x9a\x99\x98\x97", "%d direct", direct)
		}
	})
}
