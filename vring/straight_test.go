package vring_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// cut is a chain of readable and writable bytes, cut into buffers of the given sizes.
func cut(e *env, in []byte, sizes ...int) (out func() []byte) {
	var d []vringtest.Desc
	var space []uint64
	for _, n := range sizes {
		a := e.Alloc(uint64(n), 1)
		e.Write(a, in[:n])
		in = in[n:]
		d = append(d, vringtest.Readable(a, uint32(n)))
	}
	for _, n := range sizes {
		space = append(space, e.Alloc(uint64(n), 1))
		d = append(d, vringtest.Writable(space[len(space)-1], uint32(n)))
	}
	e.r.Chain(0, d...)
	e.r.Offer(0)
	return func() (b []byte) {
		for i, n := range sizes {
			b = append(b, e.Read(space[i], uint64(n))...)
		}
		return b
	}
}

// RING-02: a system call sees the bytes where they lie, however they are cut, and what Read and
// Write did before it counts.
func TestRING_02_Straight(t *testing.T) {
	text := []byte("0123456789abcdef")
	for _, sizes := range [][]int{{16}, {1, 15}, {3, 1, 4, 1, 7}, {15, 1}} {
		e := simple(t, size(16))
		out := cut(e, text, sizes...)
		var c vring.Chain
		e.pop(t, &c)
		assert.Assert(t, c.Straight())

		head := make([]byte, 2)
		_, err := io.ReadFull(&c, head)
		assert.NilError(t, err)
		var got []byte
		n, err := c.Drain(9, func(v [][]byte) (int, error) {
			got = bytes.Join(v, nil)
			return 7, nil // a short one
		})
		assert.NilError(t, err)
		assert.Equal(t, n, 7)
		assert.Equal(t, string(got), "23456789a")
		n, err = c.Drain(100, func(v [][]byte) (int, error) {
			got = bytes.Join(v, nil)
			return len(got), io.ErrUnexpectedEOF
		})
		assert.Equal(t, err, io.ErrUnexpectedEOF)
		assert.Equal(t, n, 7)
		assert.Equal(t, string(got), "9abcdef")
		_, err = c.Drain(1, nil)
		assert.Equal(t, err, io.EOF)

		_, err = c.Write([]byte("____"))
		assert.NilError(t, err)
		n, err = c.Fill(9, func(v [][]byte) (int, error) {
			r := bytes.NewReader(text)
			for _, b := range v {
				r.Read(b)
			}
			assert.Equal(t, r.Len(), 16-9)
			return 6, nil
		})
		assert.NilError(t, err)
		assert.Equal(t, n, 6)
		_, err = c.Write([]byte("tail"))
		assert.NilError(t, err)
		assert.Equal(t, c.Written(), uint32(14))
		n, err = c.WriteAt([]byte("head"), 0)
		assert.NilError(t, err)
		assert.Equal(t, n, 4)
		_, err = c.WriteAt([]byte("x"), 13)
		assert.NilError(t, err)
		assert.Equal(t, string(out()[:14]), "head012345taix")
		for _, off := range []int64{-1, 14, 15} {
			_, err = c.WriteAt([]byte("y"), off)
			assert.Equal(t, err, io.ErrShortWrite)
		}
		c.Truncate(15)
		assert.Equal(t, c.Written(), uint32(14))
		c.Truncate(5)
		_, err = c.Write([]byte("!"))
		assert.NilError(t, err)
		assert.Equal(t, string(out()[:7]), "head0!2")

		n, err = c.Fill(100, func(v [][]byte) (int, error) { return -1, io.ErrNoProgress })
		assert.Equal(t, err, io.ErrNoProgress)
		assert.Equal(t, n, 0)
		n, err = c.Fill(100, func(v [][]byte) (int, error) { return len(bytes.Join(v, nil)), nil })
		assert.NilError(t, err)
		assert.Equal(t, n, 10)
		_, err = c.Fill(1, nil)
		assert.Equal(t, err, io.ErrShortWrite)
		e.q.Push(&c)
		e.publish(t)
		assert.Equal(t, e.used(t), vringtest.Elem{ID: 0, Len: 16})
	}
}

// What one system call cannot take comes with the next one.
func TestChain_StraightIsBounded(t *testing.T) {
	e := simple(t, size(2048))
	e.r.Chain(0, append(writables(e, 1500), vringtest.Writable(e.Alloc(9, 1), 9))...)
	e.r.Offer(0)
	var c vring.Chain
	e.pop(t, &c)
	var calls []int
	for c.Writable() > 0 {
		n, err := c.Fill(c.Writable(), func(v [][]byte) (int, error) {
			return len(bytes.Join(v, nil)), nil
		})
		assert.NilError(t, err)
		calls = append(calls, n)
	}
	assert.DeepEqual(t, calls, []int{1024, 1500 - 1024 + 9})
}

func writables(e *env, n int) (d []vringtest.Desc) {
	for range n {
		d = append(d, vringtest.Writable(e.Alloc(1, 1), 1))
	}
	return d
}

func TestChain_NotStraight(t *testing.T) {
	m := newMemory(strict(1<<14, 8))
	conf := size(8)
	conf.Layout = m.Modern(8)
	e := newEnv(t, m, conf)
	cut(e, []byte("abcd"), 4)
	var c vring.Chain
	e.pop(t, &c)
	assert.Assert(t, !c.Straight())
	_, err := c.Fill(4, nil)
	assert.Equal(t, err, vring.ErrNotStraight)
	_, err = c.Drain(4, nil)
	assert.Equal(t, err, vring.ErrNotStraight)
	_, err = c.Write([]byte("abcd"))
	assert.NilError(t, err)
	_, err = c.WriteAt([]byte("xy"), 1)
	assert.NilError(t, err)
	assert.Equal(t, c.Written(), uint32(4))
}

func TestChain_StraightOutOfFlight(t *testing.T) {
	e := simple(t, size(8))
	cut(e, []byte("abcd"), 4)
	var c vring.Chain
	e.pop(t, &c)
	e.q.Push(&c)
	_, err := c.Fill(4, nil)
	assert.Equal(t, err, vring.ErrDone)
	_, err = c.Drain(4, nil)
	assert.Equal(t, err, vring.ErrDone)
	_, err = c.WriteAt(nil, 0)
	assert.Equal(t, err, vring.ErrDone)
}

// A backend that claims more than it was given is a bug, and its panics are its own.
func TestChain_StraightPanics(t *testing.T) {
	e := simple(t, size(8))
	cut(e, []byte("abcd"), 4)
	var c vring.Chain
	e.pop(t, &c)
	func() {
		defer func() { assert.Equal(t, recover(), "vring: more bytes reported than the buffers have") }()
		c.Fill(4, func([][]byte) (int, error) { return 5, nil })
	}()
	wrong := errors.New("wrong")
	func() {
		defer func() { assert.Equal(t, recover(), wrong) }()
		c.Drain(4, func([][]byte) (int, error) { panic(wrong) })
	}()
	assert.Equal(t, c.Readable(), uint64(4))
}

// The gate stays open until the call is over.
func TestGate_WaitsForStraight(t *testing.T) {
	g := newGated(t, shmem.NewHeap(1<<14), size(8))
	var c vring.Chain
	g.inFlight(t, &c)
	n, err := c.Fill(4, func(v [][]byte) (int, error) {
		assert.Check(t, !g.gate.Shut())
		return copy(v[0], "ok"), nil
	})
	assert.NilError(t, err)
	assert.Equal(t, n, 2)
	assert.Assert(t, g.gate.Empty())
	assert.Equal(t, g.left.Load(), int32(1))
}
