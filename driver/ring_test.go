package driver_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// newRing is a ring of its own memory at address 0, and the device's view of it.
func newRing(t testing.TB, size uint16, eventIdx bool) (*driver.Ring, *usedRing) {
	t.Helper()
	region := shmem.NewHeap(int(vring.LegacyBytes(size, 4096)+4095) &^ 4095)
	space, err := shmem.NewSpace(shmem.Window{Region: region})
	assert.NilError(t, err)
	mem, err := region.Span(0, region.Size())
	assert.NilError(t, err)
	l := vring.Legacy(0, size, 4096)
	r, err := driver.NewRing(space, l, 3, eventIdx)
	assert.NilError(t, err)
	return r, &usedRing{mem: mem, l: l}
}

func segments(n int) []driver.Segment {
	s := make([]driver.Segment, n)
	for i := range s {
		s[i] = driver.Segment{Addr: 0x1000 * uint64(i+1), Len: 16, Write: i > 0}
	}
	return s
}

// What the device finds in memory after Add and Publish.
func TestRing_Layout(t *testing.T) {
	r, dev := newRing(t, 8, false)
	_, err := r.Add(segments(1))
	assert.NilError(t, err)
	head, err := r.Add([]driver.Segment{
		{Addr: 0x123456789abc, Len: 10}, {Addr: 0x2000, Len: 20, Write: true}, {Addr: 0x3000, Len: 1 << 31, Write: true},
	})
	assert.NilError(t, err)
	assert.Equal(t, dev.availIdx(), uint16(0), "seen before Publish")
	assert.Assert(t, r.Publish())
	assert.Equal(t, dev.availIdx(), uint16(2))
	assert.Equal(t, dev.head(1), head)

	type descriptor struct {
		Addr  uint64
		Len   uint32
		Flags uint16
	}
	var got []descriptor
	for i, more := head, true; more && len(got) < 8; {
		addr, n, flags, next := dev.desc(i)
		got = append(got, descriptor{addr, n, flags})
		i, more = next, flags&1 != 0
	}
	assert.DeepEqual(t, got, []descriptor{{0x123456789abc, 10, 1}, {0x2000, 20, 3}, {0x3000, 1 << 31, 2}})
	assert.Equal(t, r.Room(), 4)
	assert.Equal(t, r.Outstanding(), 2)
	assert.Assert(t, !r.Publish(), "nothing new")
}

// The ring never overflows, and what does not fit changes nothing.
func TestRing_Full(t *testing.T) {
	r, dev := newRing(t, 4, false)
	for range 2 {
		_, err := r.Add(segments(1))
		assert.NilError(t, err)
	}
	_, err := r.Add(segments(3))
	assert.Equal(t, err, driver.ErrFull)
	_, err = r.Add(segments(5))
	assert.Equal(t, err, driver.ErrTooLong)
	_, err = r.Add(nil)
	assert.Equal(t, err, driver.ErrEmpty)
	_, err = r.Add([]driver.Segment{{Len: 1 << 31}, {Len: 1 << 31, Write: true}})
	assert.Equal(t, err, driver.ErrTooLong)
	_, err = r.Add([]driver.Segment{{Len: 1, Write: true}, {Len: 1}})
	assert.ErrorContains(t, err, "segment 1 is for the device to read")
	assert.Equal(t, r.Room(), 2)
	_, err = r.Add(segments(2))
	assert.NilError(t, err)
	_, err = r.Add(segments(1))
	assert.Equal(t, err, driver.ErrFull)
	r.Publish()
	assert.Equal(t, dev.availIdx(), uint16(3))
}

// Chains of all lengths, completed in any order, for more than one round of the indices: every
// head comes back once with its length, and no descriptor is lost.
func TestRing_AnyOrder(t *testing.T) {
	const size = 16
	random := rand.New(rand.NewPCG(1, 2))
	r, dev := newRing(t, size, false)
	var seen uint16
	var inDevice []uint16
	lengths := map[uint16]uint32{}
	for total := 0; total < 70000; {
		for range random.IntN(4) {
			chain := segments(1 + random.IntN(4))
			if head, err := r.Add(chain); err == nil {
				_, twice := lengths[head]
				assert.Assert(t, !twice, "head %d is in use", head)
				lengths[head] = 16 * uint32(len(chain)-1)
				total++
			} else {
				assert.Equal(t, err, driver.ErrFull)
				assert.Assert(t, r.Room() < len(chain))
			}
		}
		r.Publish()
		for ; seen != dev.availIdx(); seen++ {
			inDevice = append(inDevice, dev.head(seen))
		}
		random.Shuffle(len(inDevice), func(i, j int) { inDevice[i], inDevice[j] = inDevice[j], inDevice[i] })
		n := random.IntN(len(inDevice) + 1)
		for _, head := range inDevice[:n] {
			dev.use(uint32(head), lengths[head])
		}
		dev.show(0)
		for _, want := range inDevice[:n] {
			head, length, ok, err := r.Get()
			assert.NilError(t, err)
			assert.Assert(t, ok)
			assert.Equal(t, head, want)
			assert.Equal(t, length, lengths[head])
			delete(lengths, head)
		}
		inDevice = inDevice[n:]
		_, _, ok, err := r.Get()
		assert.Assert(t, !ok && err == nil)
		assert.Equal(t, r.Outstanding(), len(inDevice))
		if len(inDevice) == 0 {
			assert.Equal(t, r.Room(), size)
		}
	}
}

// Nothing that the device writes is believed.
func TestRing_Liars(t *testing.T) {
	for _, tt := range []struct {
		name string
		lie  func(dev *usedRing, head uint16)
		want error
		ends bool // the ring
	}{
		{"id beyond the table", func(d *usedRing, h uint16) { d.use(8, 0) }, driver.ErrUsedID, true},
		{"id of 32 bits", func(d *usedRing, h uint16) { d.use(1<<16|uint32(h), 0) }, driver.ErrUsedID, true},
		{"id of a free descriptor", func(d *usedRing, h uint16) { d.use(uint32(h)+5, 0) }, driver.ErrUsedID, true},
		{"id inside a chain", func(d *usedRing, h uint16) { d.use(uint32(h)+1, 0) }, driver.ErrUsedID, true},
		{"index beyond what is outstanding", func(d *usedRing, h uint16) { d.idx += 3 }, driver.ErrUsedIndex, true},
		{"index going back", func(d *usedRing, h uint16) { d.idx-- }, driver.ErrUsedIndex, true},
		{"length beyond the buffers", func(d *usedRing, h uint16) { d.use(uint32(h), 17) }, driver.ErrUsedLength, false},
		{"length of the readable part too", func(d *usedRing, h uint16) { d.use(uint32(h), 32) }, driver.ErrUsedLength, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, dev := newRing(t, 8, false)
			head, err := r.Add(segments(2))
			assert.NilError(t, err)
			other, err := r.Add(segments(2))
			assert.NilError(t, err)
			r.Publish()
			tt.lie(dev, head)
			dev.show(0)
			_, n, ok, err := r.Get()
			var ringErr *driver.RingError
			assert.Assert(t, errors.Is(err, tt.want))
			assert.Assert(t, errors.As(err, &ringErr))
			assert.Equal(t, ringErr.Queue, 3)
			assert.Equal(t, n, uint32(0))
			assert.Equal(t, ok, !tt.ends)
			if tt.ends {
				_, addErr := r.Add(segments(1))
				assert.Equal(t, addErr, err)
				_, _, _, getErr := r.Get()
				assert.Equal(t, getErr, err)
				assert.Equal(t, r.Broken(), err)
				return
			}
			assert.NilError(t, r.Broken())
			dev.use(uint32(other), 16)
			dev.show(0)
			got, n, ok, err := r.Get()
			assert.Assert(t, ok && err == nil && got == other && n == 16)
		})
	}
}

// A head is given back once: the second time it is a lie.
func TestRing_Twice(t *testing.T) {
	r, dev := newRing(t, 8, false)
	head, err := r.Add(segments(1))
	assert.NilError(t, err)
	_, err = r.Add(segments(1))
	assert.NilError(t, err)
	r.Publish()
	dev.use(uint32(head), 0)
	dev.use(uint32(head), 0)
	dev.show(0)
	_, _, ok, err := r.Get()
	assert.Assert(t, ok && err == nil)
	_, _, ok, err = r.Get()
	assert.Assert(t, !ok && errors.Is(err, driver.ErrUsedID))
}

func TestRing_KickFlags(t *testing.T) {
	r, dev := newRing(t, 8, false)
	add := func() {
		_, err := r.Add(segments(1))
		assert.NilError(t, err)
	}
	add()
	assert.Assert(t, r.Publish())
	dev.show(1) // no notification, please
	add()
	assert.Assert(t, !r.Publish())
	dev.show(0)
	add()
	assert.Assert(t, r.Publish())
}

func TestRing_KickEventIdx(t *testing.T) {
	r, dev := newRing(t, 8, true)
	dev.show(1) // flags mean nothing now
	event := func(i uint16) { dev.mem.Store16Plain(dev.l.Used+4+8*8, i) }
	publish := func(n int) bool {
		for range n {
			_, err := r.Add(segments(1))
			assert.NilError(t, err)
		}
		return r.Publish()
	}
	event(0)
	assert.Assert(t, publish(1), "0 to 1 passes 0")
	assert.Assert(t, !publish(1), "1 to 2 does not")
	event(3)
	assert.Assert(t, !publish(1), "2 to 3 is not behind it yet")
	assert.Assert(t, publish(3), "3 to 6 passes 3")
}

func TestRing_InterruptFlags(t *testing.T) {
	r, dev := newRing(t, 8, false)
	flags := func() uint16 { return dev.mem.Load16(dev.l.Avail) }
	head, err := r.Add(segments(1))
	assert.NilError(t, err)
	r.Disarm()
	assert.Equal(t, flags(), uint16(0), "from the next Publish on")
	r.Publish()
	assert.Equal(t, flags(), uint16(1))
	assert.Equal(t, dev.availIdx(), uint16(1))
	assert.Assert(t, !r.Arm())
	assert.Equal(t, flags(), uint16(0))
	assert.Equal(t, dev.availIdx(), uint16(1))
	dev.use(uint32(head), 0)
	dev.show(0)
	assert.Assert(t, r.Arm(), "used meanwhile")
}

func TestRing_InterruptEventIdx(t *testing.T) {
	r, dev := newRing(t, 8, true)
	event := func() uint16 { return dev.mem.Load16(dev.l.Avail + 4 + 2*8) }
	for i := range uint16(3) {
		assert.Assert(t, !r.Arm())
		assert.Equal(t, event(), i)
		r.Disarm()
		head, err := r.Add(segments(1))
		assert.NilError(t, err)
		r.Publish()
		assert.Equal(t, dev.mem.Load16(dev.l.Avail), uint16(0), "flags stay 0")
		dev.use(uint32(head), 0)
		dev.show(0)
		assert.Assert(t, r.Arm())
		assert.Equal(t, event(), i)
		_, _, ok, err := r.Get()
		assert.Assert(t, ok && err == nil)
	}
}

func TestRing_Geometry(t *testing.T) {
	region := shmem.NewHeap(1 << 16)
	space, err := shmem.NewSpace(shmem.Window{Addr: 0x10000, Region: region})
	assert.NilError(t, err)
	for _, tt := range []struct {
		name string
		l    vring.Layout
		want string
	}{
		{"size", vring.Legacy(0x10000, 12, 4096), "size 12"},
		{"outside", vring.Legacy(0x1f000, 8, 4096), "outside"},
		{"table", vring.Layout{Size: 8, Desc: 0x10008, Avail: 0x10100, Used: 0x10200}, "0x10008 is not aligned to 16"},
		{"available ring", vring.Layout{Size: 8, Desc: 0x10000, Avail: 0x10102, Used: 0x10200}, "0x10102 is not aligned to 4"},
		{"used ring", vring.Layout{Size: 8, Desc: 0x10000, Avail: 0x10100, Used: 0x10202}, "0x10202 is not aligned to 4"},
	} {
		_, err := driver.NewRing(space, tt.l, 5, false)
		assert.Check(t, is.ErrorContains(err, tt.want), tt.name)
		assert.Check(t, is.ErrorContains(err, "queue 5"), tt.name)
	}
	r, err := driver.NewRing(space, vring.Layout{Size: 8, Desc: 0x10010, Avail: 0x10104, Used: 0x10204}, 0, false)
	assert.NilError(t, err)
	all, err := region.Span(0, region.Size())
	assert.NilError(t, err)
	for off := uint64(0); off < region.Size(); off += 4 {
		all.Store32(off, ^uint32(0))
	}
	r.Zero()
	for off := uint64(0); off < region.Size(); off += 2 {
		inside := off >= 0x10 && off < 0x90 || off >= 0x104 && off < 0x11a || off >= 0x204 && off < 0x24a
		assert.Equal(t, all.Load16(off) == 0, inside, "%#x", off)
	}
}
