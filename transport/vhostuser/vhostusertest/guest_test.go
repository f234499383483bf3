package vhostusertest

import (
	"fmt"
	"testing"

	"gotest.tools/v3/assert"
)

// Every way to lay out, notify and acknowledge carries a request there and back.
func TestGuestAgainstAFake(t *testing.T) {
	regions := []Region{
		{Guest: 0x10_0000, User: 0x7000_0000_0000, Size: 1 << 20, Offset: 0x1000},
		{Guest: 0x2_0000_0000, User: 0x6000_0000_0000, Size: 1 << 20},
	}
	for _, n := range []Notify{Eventfds, Pipes, InBand} {
		for bits := range 16 {
			o := Options{
				Sizes: []uint16{8}, Notify: n, Regions: regions[:1+bits&1],
				EventIdx: bits&2 != 0, Indirect: bits&4 != 0, Acked: bits&8 != 0, Status: bits&8 != 0,
			}
			t.Run(fmt.Sprintf("%v/%d regions/event idx %v/indirect %v/acked %v", n, len(o.Regions), o.EventIdx, o.Indirect, o.Acked), func(t *testing.T) {
				g, err := NewGuest(o)
				assert.NilError(t, err)
				t.Cleanup(func() { assert.NilError(t, g.Close()) })
				assert.NilError(t, g.Attach(newFake(t)))
				echo(t, g, 50)
			})
		}
	}
}

func echo(t *testing.T, g *Guest, n int) {
	t.Helper()
	q := g.Queues[0]
	out, in := g.Memory.Alloc(64, 1), g.Memory.Alloc(64, 1)
	for i := range n {
		msg := fmt.Appendf(nil, "request %d", i)
		g.Memory.Write(out, msg)
		e, err := q.Do(Readable(out, 3), Readable(out+3, uint32(len(msg)-3)), Writable(in, 64))
		assert.NilError(t, err)
		assert.Equal(t, int(e.Len), len(msg))
		assert.DeepEqual(t, g.Memory.Read(in, uint64(len(msg))), msg)
	}
}

func TestConfigAndQueueNumber(t *testing.T) {
	fe := newFake(t)
	p, err := fe.GetConfig(2, 3)
	assert.NilError(t, err)
	assert.Equal(t, string(p), "cde")
	_, err = fe.GetConfig(8, 1)
	assert.ErrorIs(t, err, ErrNoConfig)
	n, err := fe.GetQueueNum()
	assert.NilError(t, err)
	assert.Equal(t, n, uint64(1))
}
