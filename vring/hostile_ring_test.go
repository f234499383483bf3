package vring_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

func indirect(n uint16) vring.Config {
	c := size(n)
	c.Indirect = true
	return c
}

func TestDRV_01_AvailableIndexJumps(t *testing.T) {
	c := size(8)
	c.Start = 65534
	c.Index = 3
	matrix(t, c, func(t *testing.T, e *env) {
		for _, idx := range []uint16{c.Start + 9, c.Start - 1, c.Start + 0x8000, 5555} {
			e.r.SetAvailIdx(idx)
			pending, err := e.q.Arm() // not the one to judge, but not to be slept through
			assert.NilError(t, err)
			assert.Assert(t, pending)
			e.breaks(t, vring.ErrAvailJump)
		}
		// A whole ring at once is legal.
		e.r.Offer(0, 1, 2, 3, 4, 5, 6, 7)
		var chain vring.Chain
		for range 8 {
			e.pop(t, &chain)
			e.q.Push(&chain)
		}
		e.publish(t)
	})
}

// Where a reset announces itself by nothing but a ring that jumps, a jump is an empty queue.
func TestDRV_01_PatientQueueWaits(t *testing.T) {
	c := size(8)
	c.Patient = true
	matrix(t, c, func(t *testing.T, e *env) {
		e.good(t, 0)
		for _, idx := range []uint16{0, 10, 0x8000} {
			before := e.Snapshot()
			avail := vringtest.Range{Addr: e.r.Avail, Len: 4}
			e.r.SetAvailIdx(idx)
			var c vring.Chain
			ok, err := e.q.Pop(&c)
			assert.NilError(t, err)
			assert.Assert(t, !ok)
			pending, err := e.q.Arm()
			assert.NilError(t, err)
			assert.Assert(t, !pending)
			assert.NilError(t, before.Changed(avail, e.r.UsedRange()))
			assert.NilError(t, e.q.Broken())
		}
		e.r.SetAvailIdx(1) // a sane index again: it goes on where it was
		e.good(t, 2)
		e.reset(t)
	})
}

func TestDRV_02_HeadOutsideTheTable(t *testing.T) {
	matrix(t, size(8), func(t *testing.T, e *env) {
		for _, head := range []uint16{8, 9, 0x7fff, 0xffff} {
			e.r.Offer(head)
			e.breaks(t, vring.ErrHead)
		}
	})
}

func TestDRV_03_NextOutsideTheTable(t *testing.T) {
	matrix(t, indirect(8), func(t *testing.T, e *env) {
		for _, next := range []uint16{8, 9, 0xffff} {
			e.r.Put(2, vringtest.Desc{Flags: vring.DescNext, Next: next})
			e.r.Offer(2)
			e.breaks(t, vring.ErrNext)

			// The bound in an indirect table is the table's own.
			d := e.Table(vringtest.Desc{}, vringtest.Desc{}, vringtest.Desc{})
			e.Write(d.Addr+16+12, []byte{vring.DescNext, 0, byte(next - 5), byte((next - 5) >> 8)})
			e.r.Put(2, d)
			e.r.Offer(2)
			e.breaks(t, vring.ErrNext)
		}
	})
}

func TestDRV_04_ChainLoop(t *testing.T) {
	matrix(t, indirect(8), func(t *testing.T, e *env) {
		next := func(d vringtest.Desc, next uint16) vringtest.Desc {
			d.Flags |= vring.DescNext
			d.Next = next
			return d
		}
		in, out := vringtest.Readable(e.Alloc(4, 1), 4), vringtest.Writable(e.Alloc(4, 1), 4)
		bad := vringtest.Readable(0, 4)
		for _, table := range map[string][]vringtest.Desc{
			"itself":              {next(in, 0)},
			"itself, empty":       {next(vringtest.Desc{}, 0)},
			"two":                 {next(out, 1), next(out, 0)},
			"all":                 {next(in, 1), next(in, 2), next(in, 3), next(in, 4), next(out, 5), next(out, 6), next(out, 7), next(out, 4)},
			"behind a bad buffer": {next(bad, 1), next(in, 0)},
			"behind a bad order":  {next(in, 1), next(out, 0)},
			"of 4 GiB":            {next(vringtest.Readable(window, 1<<31), 0)},
		} {
			for i, d := range table {
				e.r.Put(uint16(i), d)
			}
			e.r.Offer(0)
			e.breaks(t, vring.ErrLoop)

			d := e.Table(table...) // links them, in a line; the last one is to loop
			last := table[len(table)-1]
			e.Write(d.Addr+16*uint64(len(table))-4, []byte{byte(last.Flags), 0, byte(last.Next), 0})
			e.r.Put(0, d)
			e.r.Offer(0)
			e.breaks(t, vring.ErrLoop)
		}
	})
}

func TestDRV_04_LongestChain(t *testing.T) {
	matrix(t, indirect(8), func(t *testing.T, e *env) {
		one := vringtest.Readable(e.Alloc(1, 1), 1)
		many := func(n int) (d []vringtest.Desc) {
			for range n {
				d = append(d, one)
			}
			return d
		}
		for direct := range 8 {
			// As many buffers as the queue has entries; the one that names the table is none.
			e.r.Chain(0, append(many(direct), e.Table(many(8-direct)...))...)
			e.r.Offer(0)
			var c vring.Chain
			e.pop(t, &c)
			assert.Equal(t, c.Descriptors(), 8)
			assert.Equal(t, c.Readable(), uint64(8))
			e.q.Push(&c)
			e.publish(t)
			e.used(t)

			if direct > 0 {
				e.r.Chain(0, append(many(direct), e.Table(many(9-direct)...))...)
				e.r.Offer(0)
				e.breaks(t, vring.ErrLoop)
			}
		}
	})
}

func TestDRV_08_IndirectNotNegotiated(t *testing.T) {
	matrix(t, size(8), func(t *testing.T, e *env) {
		out := vringtest.Writable(e.Alloc(4, 1), 4)
		d := e.Table(out)
		e.r.Put(1, d)
		e.r.Offer(1)
		e.refuses(t, 1, vring.ErrIndirect)

		d.Addr = 0 // never looked at
		e.r.Chain(5, out, d)
		e.r.Offer(5)
		e.refuses(t, 5, vring.ErrIndirect)
	})
}

func TestDRV_09_IndirectWhereItMayNotBe(t *testing.T) {
	matrix(t, indirect(8), func(t *testing.T, e *env) {
		out := vringtest.Writable(e.Alloc(4, 1), 4)
		inner := e.Table(out)
		e.r.Put(1, e.Table(out, inner))
		e.r.Offer(1)
		e.breaks(t, vring.ErrIndirect)

		e.r.Chain(2, inner, out) // INDIRECT and NEXT
		e.r.Offer(2)
		e.breaks(t, vring.ErrIndirect)
	})
}

func TestDRV_10_IndirectTableLength(t *testing.T) {
	matrix(t, indirect(8), func(t *testing.T, e *env) {
		entries := make([]vringtest.Desc, 9)
		for _, n := range []uint32{0, 1, 8, 15, 17, 24, 9 * 16, 1 << 31, 1<<32 - 1, 1<<32 - 16} {
			d := e.Table(entries...)
			d.Len = n
			e.r.Put(7, d)
			e.r.Offer(7)
			e.refuses(t, 7, vring.ErrTable)
		}
		// Any alignment is legal.
		for off := range uint64(16) {
			out := e.Alloc(4, 1)
			d := e.TableAt(e.Alloc(64, 16)+off, vringtest.Readable(e.Buffer([]byte("ping")), 4), vringtest.Writable(out, 4))
			e.r.Put(7, d)
			e.r.Offer(7)
			e.echo(t)
			assert.Equal(t, e.used(t), vringtest.Elem{ID: 7, Len: 4})
			assert.Equal(t, string(e.Read(out, 4)), "\x8f\x96\x91\x98")
		}
	})
}

// Nothing the driver does to the used ring reaches the device.
func TestDRV_15_DriverWritesTheUsedRing(t *testing.T) {
	matrix(t, size(8), func(t *testing.T, e *env) {
		junk := make([]byte, e.r.UsedBytes())
		for i := range junk {
			junk[i] = byte(0x5a + i)
		}
		for i := range uint16(20) {
			e.Write(e.r.Layout.Used, junk)
			e.take(t, 1)
			e.Write(e.r.Layout.Used, junk)
			e.publish(t)
			assert.Equal(t, e.r.UsedIdx(), i+1)
			assert.Equal(t, e.r.UsedElem(i), vringtest.Elem{})
			assert.Equal(t, e.r.UsedFlags(), uint16(0))
			e.Write(e.r.Layout.Used, junk)
			_, err := e.q.Arm()
			assert.NilError(t, err)
		}
		e.reset(t)
	})
}

func TestDRV_16_NotificationGarbage(t *testing.T) {
	matrix(t, size(8), func(t *testing.T, e *env) {
		notified := 0
		for i := range 500 {
			e.r.SetAvailFlags(uint16(i*0x1235) &^ vring.AvailNoInterrupt) // the other bits mean nothing
			e.r.SetUsedEvent(uint16(i * 0x4321))
			if e.complete(t, 1+i%8) {
				notified++
			} else {
				assert.Assert(t, e.c.EventIdx, "a flag that is none suppressed a notification")
			}
			assert.Assert(t, !e.publish(t), "notified for nothing")
		}
		assert.Assert(t, notified <= 500)
		e.reset(t)
	})
}

// A driver that never stops offering cannot keep a drain from ending: it is bounded by the
// descriptors walked, however many of them a chain has and whether it was refused.
func TestDRV_17_DrainHasABudget(t *testing.T) {
	matrix(t, indirect(8), func(t *testing.T, e *env) {
		const budget = 100
		in := vringtest.Readable(e.Alloc(1, 1), 1)
		e.r.Chain(0, in, in, in)
		e.r.Put(3, vringtest.Readable(0, 1)) // a bad one
		e.r.Put(4, e.Table(in, in))
		offers := []uint16{0, 3, 4, 2}
		var c vring.Chain
		start, chains := e.q.Walked(), 0
		for e.q.Walked()-start < budget {
			e.r.Offer(offers[chains%4])
			ok, err := e.q.Pop(&c)
			assert.Assert(t, ok == (chains%4 != 1), err)
			e.q.Push(&c)
			chains++
			assert.Assert(t, chains < budget, "the drain does not end")
		}
		// 3, 1, 1+2 and 1 descriptors.
		assert.Equal(t, chains, budget/8*4+2)
		assert.Assert(t, e.q.Pending() <= 8)
		e.publish(t)
		assert.Equal(t, e.r.UsedIdx(), uint16(chains))
		e.reset(t)
	})
}

func TestDRV_06_RingAreas(t *testing.T) {
	low, high := shmem.NewHeap(1<<14), shmem.NewHeap(1<<14)
	const top = 1<<64 - 1<<14
	space, err := shmem.NewSpace(
		shmem.Window{Addr: window, Region: low},
		shmem.Window{Addr: window + 1<<14, Region: high}, // adjoining, but not one piece
		shmem.Window{Addr: top, Region: low},
	)
	assert.NilError(t, err)
	good := vring.Layout{Size: 8, Desc: window, Avail: window + 256, Used: window + 512}
	for _, tt := range []struct {
		name   string
		change func(l *vring.Layout)
		want   error
	}{
		{"good", func(*vring.Layout) {}, nil},
		{"good, at the end of a window", func(l *vring.Layout) { l.Desc = window + 1<<14 - 128 }, nil},
		{"good, at the end of the address space", func(l *vring.Layout) { l.Desc = top + 1<<14 - 128 }, nil},
		{"table below the window", func(l *vring.Layout) { l.Desc = window - 16 }, vring.ErrAddress},
		{"driver area behind the windows", func(l *vring.Layout) { l.Avail = window + 1<<15 }, vring.ErrAddress},
		{"device area wraps around", func(l *vring.Layout) { l.Used = 1<<64 - 4 }, vring.ErrAddress},
		{"table across two windows", func(l *vring.Layout) { l.Desc = window + 1<<14 - 112 }, vring.ErrAddress},
		{"driver area one byte out", func(l *vring.Layout) { l.Avail = top + 1<<14 - 20 }, vring.ErrAddress},
		{"table at 8", func(l *vring.Layout) { l.Desc += 8 }, vring.ErrAlign},
		{"driver area at 1", func(l *vring.Layout) { l.Avail++ }, vring.ErrAlign},
		{"device area at 2", func(l *vring.Layout) { l.Used += 2 }, vring.ErrAlign},
		{"all at one place", func(l *vring.Layout) { l.Avail, l.Used = l.Desc, l.Desc }, vring.ErrOverlap},
		{"driver area in the table", func(l *vring.Layout) { l.Avail = l.Desc + 126 }, vring.ErrOverlap},
		{"table in the device area", func(l *vring.Layout) { l.Used = l.Desc - 4; l.Desc += 64; l.Used += 64 }, vring.ErrOverlap},
		{"device area in the driver area", func(l *vring.Layout) { l.Used = l.Avail + 20 }, vring.ErrOverlap},
		{"overlap at the end of the address space", func(l *vring.Layout) {
			l.Desc = top + 1<<14 - 128
			l.Avail = l.Desc + 64
		}, vring.ErrOverlap},
		{"size 0", func(l *vring.Layout) { l.Size = 0 }, vring.ErrSize},
		{"size 6", func(l *vring.Layout) { l.Size = 6 }, vring.ErrSize},
		{"size 65535", func(l *vring.Layout) { l.Size = 65535 }, vring.ErrSize},
	} {
		l := good
		tt.change(&l)
		q, err := vring.New(space, vring.Config{Layout: l, Index: 7})
		if tt.want == nil {
			assert.NilError(t, err, tt.name)
			assert.Equal(t, q.Size(), 8)
			continue
		}
		assert.ErrorIs(t, err, tt.want, tt.name)
		refused, ok := err.(*vring.RingError)
		assert.Assert(t, ok, tt.name)
		assert.Equal(t, refused.Queue, 7, tt.name)
	}
}
