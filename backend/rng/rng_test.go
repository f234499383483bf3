package rng

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/vring/vringtest"
)

func TestRNG_01_AtLeastOneByte(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts func() Options
	}{
		{"system", func() Options { return Options{} }},
		{"reader", func() Options { return Options{Source: &counter{}} }},
		{"byte by byte", func() Options { return Options{Source: iotest.OneByteReader(&counter{})} }},
		{"nothing now and then", func() Options { return Options{Source: &stutter{}} }},
		{"rate", func() Options { return Options{Rate: 1 << 40} }},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			l := newLink(t, New(tt.opts()), 1<<20)
			for _, n := range []uint64{1, 2, 7, 9, 64, 4096, 4097, 65536, 65537, 200000} {
				l.writable(n)
				e := l.used()
				assert.Check(t, e.Len >= 1 && uint64(e.Len) <= n, "%d bytes of %d", e.Len, n)
			}
		})
	}
}

// stutter gives nothing at every other Read, as an io.Reader may.
type stutter struct {
	counter
	calls int
}

func (s *stutter) Read(p []byte) (int, error) {
	if s.calls++; s.calls%2 == 1 {
		return 0, nil
	}
	return s.counter.Read(p)
}

func TestRNG_02_FillsEveryDescriptor(t *testing.T) {
	for _, sizes := range [][]uint32{{1, 1, 1}, {3, 0, 9}, {1, 8191, 5}, {5000, 5000, 6000}} {
		bubble(t, fmt.Sprint(sizes), func(t *testing.T) {
			l := newLink(t, New(Options{Source: &counter{}}), 1<<20)
			var descs []vringtest.Desc
			var total uint32
			for _, n := range sizes {
				descs = append(descs, vringtest.Writable(l.mem.Alloc(uint64(n), 64), n))
				total += n
			}
			l.offer(descs...)
			assert.Equal(t, l.used().Len, total)
			var got []byte
			for _, d := range descs {
				got = append(got, l.mem.Read(d.Addr, uint64(d.Len))...)
			}
			want, _ := io.ReadAll(io.LimitReader(&counter{}, int64(total)))
			assert.Assert(t, bytes.Equal(got, want))
		})
	}
}

func TestRNG_03_FreshBytesAndNoOthers(t *testing.T) {
	synctest.Test(t, testFreshBytesAndNoOthers)
}

func testFreshBytesAndNoOthers(t *testing.T) {
	l := newLink(t, New(Options{Rate: 48}), 1<<20) // 48 bytes, then the answers are short
	first, second := l.mem.Alloc(32, 1), l.mem.Alloc(64, 1)
	l.mem.Fill()
	before := l.mem.Snapshot()
	l.offer(vringtest.Writable(first, 32))
	assert.Equal(t, l.used().Len, uint32(32))
	l.offer(vringtest.Writable(second, 64))
	n := uint64(l.used().Len)
	assert.Equal(t, n, uint64(48))
	assert.Check(t, !bytes.Equal(l.mem.Read(first, 32), l.mem.Read(second, 32)))
	assert.NilError(t, before.Changed(l.ring.UsedRange(), vringtest.Range{Addr: l.ring.Desc, Len: 64},
		vringtest.Range{Addr: l.ring.Avail, Len: 16},
		vringtest.Range{Addr: first, Len: 32}, vringtest.Range{Addr: second, Len: n}))
}

func TestRNG_04_NothingToWriteTo(t *testing.T) {
	synctest.Test(t, testNothingToWriteTo)
}

func testNothingToWriteTo(t *testing.T) {
	l := newLink(t, New(Options{}), 1<<20)
	l.offer(vringtest.Readable(l.mem.Buffer([]byte("?")), 1))
	l.offer(vringtest.Writable(l.mem.Alloc(1, 1), 0))
	l.offer(vringtest.Readable(l.mem.Buffer([]byte("?")), 1), vringtest.Writable(l.mem.Alloc(1, 1), 0))
	for range 3 {
		assert.Equal(t, l.used().Len, uint32(0))
	}
	l.writable(16)
	assert.Equal(t, l.used(), vringtest.Elem{ID: 4, Len: 16})
	synctest.Wait()
	assert.Equal(t, l.dev.Stats().Queues[0].Refused, uint64(3))
}

func TestDRV_18_EnormousRequest(t *testing.T) {
	synctest.Test(t, testEnormousRequest)
}

func testEnormousRequest(t *testing.T) {
	const size = 16 << 20
	l := newLink(t, New(Options{}), size)
	small := l.mem.Alloc(16, 1)
	// The same memory over and over: just below 4 GiB, all of it legal.
	descs := make([]vringtest.Desc, 254)
	for i := range descs {
		descs[i] = vringtest.Writable(small, size-uint32(small-0x4000_0000))
	}
	l.offer(descs...)
	l.offer(vringtest.Writable(small, 16))
	assert.Equal(t, l.used(), vringtest.Elem{ID: 0, Len: MaxRequest})
	assert.Equal(t, l.used(), vringtest.Elem{ID: 254, Len: 16})
}

// A readable part in front is no reason to refuse the writable one.
func TestReadablePartIsIgnored(t *testing.T) {
	synctest.Test(t, testReadablePartIsIgnored)
}

func testReadablePartIsIgnored(t *testing.T) {
	l := newLink(t, New(Options{Source: &counter{}}), 1<<20)
	addr := l.mem.Alloc(4, 1)
	l.offer(vringtest.Readable(l.mem.Buffer([]byte("seed")), 4), vringtest.Writable(addr, 4))
	assert.Equal(t, l.used().Len, uint32(4))
	assert.Check(t, cmp.DeepEqual(l.mem.Read(addr, 4), []byte{0, 1, 2, 3}))
}
