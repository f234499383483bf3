package vring_test

import (
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

func TestRING_01_Sizes(t *testing.T) {
	for _, n := range []uint16{1, 2, 256, vring.MaxSize} {
		for _, layout := range layouts {
			t.Run(fmt.Sprintf("%d/%s", n, layout.name), func(t *testing.T) {
				m := newMemory(memfd(t, 1<<20))
				c := size(n)
				c.Layout = layout.make(m, n)
				assert.Assert(t, layout.name != "modern" || c.Avail%4 == 2)
				e := newEnv(t, m, c)
				out := vringtest.Range{Addr: e.Alloc(uint64(n), 1), Len: uint64(n)}
				for i := range n {
					e.r.Put(i, vringtest.Writable(out.Addr+uint64(i), 1))
					e.r.SetAvail(i, n-1-i)
				}
				before := e.Snapshot()
				var chain vring.Chain
				for lap := range uint16(2) {
					e.r.SetAvailIdx((lap + 1) * n)
					for i := range n {
						e.pop(t, &chain)
						if _, err := chain.Write([]byte{byte(lap)}); err != nil {
							t.Fatal(err)
						}
						e.q.Push(&chain)
						e.publish(t)
						if got, want := e.used(t), (vringtest.Elem{ID: uint32(n - 1 - i), Len: 1}); got != want {
							t.Fatalf("%v came back, not %v", got, want)
						}
					}
					pending, err := e.q.Arm()
					assert.NilError(t, err)
					assert.Assert(t, !pending)
				}
				want := make([]byte, n)
				for i := range want {
					want[i] = 1
				}
				assert.DeepEqual(t, e.Read(out.Addr, out.Len), want)
				avail := vringtest.Range{Addr: e.r.Avail, Len: 4} // the driver's own index moved
				assert.NilError(t, before.Changed(out, avail, e.r.UsedRange()))
			})
		}
	}
}

func TestRING_03_ChainAsLongAsTheQueue(t *testing.T) {
	matrix(t, size(8), func(t *testing.T, e *env) {
		out := e.Alloc(8, 1)
		e.r.Chain(5, vringtest.Split(vringtest.Writable(out, 8), 1)...)
		e.r.Offer(5)
		var c vring.Chain
		e.pop(t, &c)
		assert.Equal(t, c.Descriptors(), 8)
		assert.Equal(t, c.Writable(), uint64(8))
		n, err := c.Write([]byte("8 chunks"))
		assert.NilError(t, err)
		assert.Equal(t, n, 8)
		e.q.Push(&c)
		e.publish(t)
		assert.Equal(t, e.used(t), vringtest.Elem{ID: 5, Len: 8})
		assert.Equal(t, string(e.Read(out, 8)), "8 chunks")
	})
}

func TestRING_11_HeadsAndSlotsOverManyLaps(t *testing.T) {
	e := simple(t, size(4))
	out := e.Alloc(4, 1)
	for i := range uint16(4) {
		e.r.Put(i, vringtest.Writable(out+uint64(i), uint32(i+1)))
	}
	var c vring.Chain
	for i := range 2*65536 + 5 {
		head := uint16(i+i/4) & 3 // another one in each slot every lap
		e.r.Offer(head)
		e.pop(t, &c)
		if _, err := c.Write(make([]byte, head+1)); err != nil {
			t.Fatal(err)
		}
		e.q.Push(&c)
		e.publish(t)
		if got, want := e.r.UsedIdx(), uint16(i+1); got != want {
			t.Fatalf("used index %d after request %d", got, i)
		}
		if got, want := e.used(t), (vringtest.Elem{ID: uint32(head), Len: uint32(head) + 1}); got != want {
			t.Fatalf("request %d: %v in slot %d, want %v", i, got, i&3, want)
		}
	}
}

func TestRING_12_AvailableIndexWraps(t *testing.T) {
	c := size(8)
	c.Start = 65533
	matrix(t, c, func(t *testing.T, e *env) {
		for range 3 { // the first batch straddles the wrap
			var heads []uint16
			for i := range uint16(8) {
				e.r.Put(i, vringtest.Writable(e.Alloc(1, 1), 1))
				heads = append(heads, 7-i)
			}
			e.r.Offer(heads...)
			var c vring.Chain
			for _, head := range heads {
				e.pop(t, &c)
				assert.Equal(t, c.Head(), head)
				e.q.Push(&c)
			}
			ok, err := e.q.Pop(&c)
			assert.NilError(t, err)
			assert.Assert(t, !ok)
			e.publish(t)
			for _, head := range heads {
				assert.Equal(t, e.used(t), vringtest.Elem{ID: uint32(head)})
			}
		}
	})
}

func TestRING_26_LegacyLayout(t *testing.T) {
	for _, tt := range []struct {
		size        uint16
		align       uint32
		avail, used uint64
		whole       uint64
	}{
		// 16·N, then ALIGN(16·N + 6 + 2·N), then 6 + 8·N.
		{size: 1, align: 2, avail: 16, used: 24, whole: 38},
		{size: 2, align: 2, avail: 32, used: 42, whole: 64},
		{size: 8, align: 64, avail: 128, used: 192, whole: 262},
		{size: 256, align: 4096, avail: 4096, used: 8192, whole: 10246},
		{size: 256, align: 64, avail: 4096, used: 4672, whole: 6726},
		{size: 1024, align: 4096, avail: 16384, used: 20480, whole: 28678},
		{size: 32768, align: 4096, avail: 524288, used: 593920, whole: 856070},
	} {
		const base = 0x1000_0000
		l := vring.Legacy(base, tt.size, tt.align)
		assert.Equal(t, l, vring.Layout{Size: tt.size, Desc: base, Avail: base + tt.avail, Used: base + tt.used})
		assert.Equal(t, vring.LegacyBytes(tt.size, tt.align), tt.whole)
	}
	// The device finds the three parts there.
	m := newMemory(memfd(t, 1<<16))
	for _, align := range []uint32{64, 4096} {
		c := size(8)
		base := m.Alloc(vring.LegacyBytes(8, align), 4096)
		c.Layout = vring.Legacy(base, 8, align)
		e := newEnv(t, m, c)
		out := m.Alloc(1, 1)
		m.Write(base, make([]byte, 128+22))
		m.Write(base, []byte{byte(out), byte(out >> 8), byte(out >> 16), byte(out >> 24), 0, 0, 0, 0, 1, 0, 0, 0, vring.DescWrite})
		m.Write(base+128, []byte{0, 0, 1})
		var chain vring.Chain
		e.pop(t, &chain)
		_, err := chain.Write([]byte{0x77})
		assert.NilError(t, err)
		e.q.Push(&chain)
		e.publish(t)
		used := base + map[uint32]uint64{64: 192, 4096: 4096}[align]
		assert.DeepEqual(t, m.Read(used, 12), []byte{0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0})
		assert.DeepEqual(t, m.Read(out, 1), []byte{0x77})
	}
}
