package vhostuser

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/emulator"
	vu "github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
	"github.com/hypervisorless/virtio/virtio"
)

// attached is a guest on a toy with so many queues.
func attached(t testing.TB, y *toy, o vu.Options) (*vu.Guest, chan error) {
	t.Helper()
	for range y.info.Queues {
		o.Sizes = append(o.Sizes, 8)
	}
	fe, done := connect(t, newServer(t, y, Options{}))
	g := newGuest(t, o)
	assert.NilError(t, g.Attach(fe))
	return g, done
}

// silent sees that what is offered on a queue is not served: not after all that was sent before
// has been.
func silent(t testing.TB, g *vu.Guest, q int) {
	t.Helper()
	_, err := g.FrontEnd.GetFeatures()
	assert.NilError(t, err)
	before := g.Queues[q].UsedIdx()
	_, err = g.Queues[q].Offer(vu.Writable(g.Memory.Alloc(8, 1), 8))
	assert.NilError(t, err)
	assert.NilError(t, g.Queues[q].ForceKick())
	_, err = g.FrontEnd.GetFeatures()
	assert.NilError(t, err)
	assert.Equal(t, g.Queues[q].UsedIdx(), before)
}

// Queues join a session that runs, and leave it, while the others go on.
func TestQueuesComeAndGo(t *testing.T) {
	y := newToy(3)
	fe, _ := connect(t, newServer(t, y, Options{}))
	g := newGuest(t, vu.Options{Sizes: []uint16{8, 8, 8}})
	assert.NilError(t, g.Negotiate(fe))
	assert.NilError(t, g.Share())
	for _, q := range g.Queues {
		assert.NilError(t, q.Place())
	}
	silent(t, g, 0)
	assert.Equal(t, y.lives(), 0)
	assert.NilError(t, g.Queues[1].Enable())
	echo(t, g, 1)
	assert.NilError(t, g.Queues[0].Enable())
	_, err := g.Queues[0].Next() // what silent offered
	assert.NilError(t, err)
	echo(t, g, 0)
	for range 3 {
		assert.NilError(t, g.Queues[0].Disable())
		silent(t, g, 0)
		echo(t, g, 1)
		assert.NilError(t, g.Queues[0].Enable())
		_, err := g.Queues[0].Next()
		assert.NilError(t, err)
		echo(t, g, 0)
	}
	assert.Equal(t, y.lives(), 1)
}

// QRST_01: once GET_VRING_BASE is answered the queue's memory is the driver's own.
func TestQRST_01_GetVringBase(t *testing.T) {
	g, _ := attached(t, newToy(2), vu.Options{})
	for i := range 20 {
		q := g.Queues[0]
		echo(t, g, 0)
		base, err := q.Stop()
		assert.NilError(t, err)
		assert.Equal(t, base, uint16(i+1))
		used := g.Memory.Span(q.Layout.Used, q.UsedBytes())
		before := make([]byte, used.Len())
		used.ReadAt(before, 0)
		silent(t, g, 0)
		assert.NilError(t, q.Enable()) // a kick is what starts it
		silent(t, g, 0)
		after := make([]byte, used.Len())
		used.ReadAt(after, 0)
		assert.DeepEqual(t, after, before)
		echo(t, g, 1)
		q.ResetAt(uint16(i + 1))
		assert.NilError(t, q.PlaceAt(uint16(i+1)))
	}
}

// A driver that starts again over the same connection says so by nothing but what it sets up
// anew.
func TestRST_04_StartAgain(t *testing.T) {
	y := newToy(2)
	g, _ := attached(t, y, vu.Options{})
	fe := g.FrontEnd
	for life := 1; life < 10; life++ {
		echo(t, g, 0)
		echo(t, g, 1)
		assert.Equal(t, y.lives(), life)
		for i := len(g.Queues) - 1; i >= 0; i-- {
			assert.NilError(t, g.Queues[i].Disable())
		}
		_, err := fe.GetFeatures()
		assert.NilError(t, err)
		for _, q := range g.Queues {
			q.Reset()
		}
		switch life % 3 {
		case 0:
			assert.NilError(t, fe.SetFeatures(g.Features))
		case 1:
			assert.NilError(t, fe.SetMemTable(g.Memory.Regions...))
		} // or only the bases
		for _, q := range g.Queues {
			assert.NilError(t, q.PlaceAt(0))
			assert.NilError(t, q.Enable())
		}
	}
}

// Without protocol features there is nothing that enables a queue: its kick does.
func TestUngated(t *testing.T) {
	fe, _ := connect(t, newServer(t, newToy(2), Options{}))
	g := newGuest(t, vu.Options{Sizes: []uint16{8, 8}})
	g.FrontEnd = fe
	assert.NilError(t, fe.SetOwner())
	assert.NilError(t, fe.SetFeatures(virtio.FeatureSet(virtio.Version1)))
	assert.NilError(t, g.Share())
	for i := range g.Queues {
		assert.NilError(t, g.Queues[i].Place())
		echo(t, g, i)
	}
}

// What a ring needs may come in any order.
func TestAnyOrder(t *testing.T) {
	for first := range 5 {
		fe, _ := connect(t, newServer(t, newToy(1), Options{}))
		g := newGuest(t, vu.Options{Sizes: []uint16{8}})
		assert.NilError(t, g.Negotiate(fe))
		q, m := g.Queues[0], g.Memory
		steps := []func() error{
			q.Enable,
			func() error { return fe.SetVringAddr(0, m.User(q.Desc), m.User(q.Layout.Used), m.User(q.Avail)) },
			g.Share,
			func() error { return fe.SetVringNum(0, 8) },
			func() error { return fe.SetVringKick(0, newEventfd(t)) },
		}
		for i := range steps {
			assert.NilError(t, steps[(first+i)%len(steps)]())
		}
		assert.NilError(t, q.Place())
		echo(t, g, 0)
	}
}

// DRV_26: a ring that lies where none can is refused, says so on its err descriptor, and can be
// put right.
func TestDRV_26_RingAddresses(t *testing.T) {
	g, _ := attached(t, newToy(2), vu.Options{Acked: true})
	fe, q, m := g.FrontEnd, g.Queues[0], g.Memory
	desc, avail, used := m.User(q.Desc), m.User(q.Avail), m.User(q.Layout.Used)
	end := m.Regions[0].User + m.Regions[0].Size
	for name, a := range map[string][3]uint64{
		"table outside":             {0, used, avail},
		"table at the end":          {end - 16, used, avail},
		"table around the top":      {^uint64(0) - 15, used, avail},
		"used ring outside":         {desc, end, avail},
		"available ring outside":    {desc, used, end - 8},
		"table off its alignment":   {desc + 8, used, avail},
		"used ring off its":         {desc, used + 2, avail},
		"available ring off its":    {desc, used, avail + 1},
		"used ring on the table":    {desc, desc, avail},
		"available ring on the one": {desc, used, used},
	} {
		t.Run(name, func(t *testing.T) {
			call := newEventfd(t)
			assert.NilError(t, q.Disable())
			assert.NilError(t, fe.SetVringErr(0, call))
			assert.NilError(t, fe.SetVringAddr(0, a[0], a[1], a[2]))
			assert.ErrorIs(t, q.Enable(), vu.ErrRefused)
			heard(t, call)
			silent(t, g, 0)
			echo(t, g, 1)
			assert.NilError(t, fe.SetVringAddr(0, desc, used, avail))
			_, err := q.Next()
			assert.NilError(t, err)
			echo(t, g, 0)
		})
	}
}

// DRV_24: a size that none can have is refused; the queue keeps the one it had.
func TestDRV_24_QueueSize(t *testing.T) {
	g, _ := attached(t, newToy(1), vu.Options{Acked: true})
	for _, size := range []uint32{0, 3, 255, 512, 1 << 15, 1 << 16, 1 << 31} {
		assert.ErrorIs(t, g.FrontEnd.SetVringNum(0, size), vu.ErrRefused)
		echo(t, g, 0)
	}
}

// DRV_01: a ring that is broken stops the device, is told on its err descriptor and in the status,
// and ends with the driver's next start.
func TestDRV_01_BrokenRing(t *testing.T) {
	for _, status := range []bool{false, true} {
		y := newToy(2)
		g, _ := attached(t, y, vu.Options{Status: status})
		fe := g.FrontEnd
		bell := newEventfd(t)
		assert.NilError(t, fe.SetVringErr(1, bell))
		_, err := fe.GetFeatures()
		assert.NilError(t, err)
		q := g.Queues[1]
		changes, _ := g.Channel.Count(vu.BackendConfigChange)
		assert.Equal(t, changes, 0)
		g.Memory.Span(q.Avail, 4).Store32(0, 1000<<16)
		assert.NilError(t, q.ForceKick())
		heard(t, bell)
		until(t, "message of a change", func() bool {
			n, _ := g.Channel.Count(vu.BackendConfigChange)
			return n == 1
		})
		now, err := fe.GetStatus()
		assert.NilError(t, err)
		assert.Assert(t, now&virtio.NeedsReset != 0)
		silent(t, g, 0)

		for _, q := range g.Queues {
			q.Reset()
			assert.NilError(t, q.Disable())
		}
		if status {
			assert.NilError(t, fe.SetStatus(0))
			for _, s := range []virtio.Status{1, 3} {
				assert.NilError(t, fe.SetStatus(s))
			}
		}
		assert.NilError(t, fe.SetFeatures(g.Features))
		if status {
			assert.NilError(t, fe.SetStatus(11))
		}
		for _, q := range g.Queues {
			assert.NilError(t, q.PlaceAt(0))
			assert.NilError(t, q.Enable())
		}
		assert.NilError(t, g.Ready())
		echo(t, g, 0)
		echo(t, g, 1)
		assert.Equal(t, y.lives(), 2)
	}
}

// DRV_33: memory that is cut off behind our back costs the device, not the process.
func TestDRV_33_TruncatedMemory(t *testing.T) {
	if emulator.Here() {
		t.Skip("QEMU's user mode does not tell where a fault was")
	}
	s := newServer(t, newToy(1), Options{})
	fe, done := connect(t, s)
	g := newGuest(t, vu.Options{Sizes: []uint16{8}})
	assert.NilError(t, g.Negotiate(fe))
	f := memfd(t, 1<<20)
	region := g.Memory.Regions[0]
	region.Size, region.Offset, region.File = 1<<20, 0, f
	assert.NilError(t, fe.SetMemTable(region))
	assert.NilError(t, fe.SetVringNum(0, 8))
	assert.NilError(t, fe.SetVringAddr(0, region.User, region.User+0x1000, region.User+0x2000))
	kick, bell := newEventfd(t), newEventfd(t)
	assert.NilError(t, fe.SetVringKick(0, kick))
	assert.NilError(t, fe.SetVringErr(0, bell))
	assert.NilError(t, fe.SetVringEnable(0, true))
	_, err := fe.GetFeatures()
	assert.NilError(t, err)
	assert.NilError(t, f.Truncate(0))
	signalFD(bare(t, kick), eventfd)
	heard(t, bell)
	assert.NilError(t, g.Detach())
	assert.NilError(t, ended(t, done))
	serveOne(t, s, vu.Options{Sizes: []uint16{8}})
}

// RST_02, STS_01: with STATUS nothing is served before DRIVER_OK, nor after a 0.
func TestSTS_01_Status(t *testing.T) {
	y := newToy(1)
	fe, _ := connect(t, newServer(t, y, Options{}))
	g := newGuest(t, vu.Options{Sizes: []uint16{8}, Status: true, Acked: true})
	assert.NilError(t, g.Negotiate(fe))
	assert.NilError(t, g.Share())
	assert.NilError(t, g.Queues[0].Place())
	assert.NilError(t, g.Queues[0].Enable())
	silent(t, g, 0)
	assert.NilError(t, g.Ready())
	_, err := g.Queues[0].Next()
	assert.NilError(t, err)
	echo(t, g, 0)
	assert.ErrorIs(t, fe.SetFeatures(g.Features.With(virtio.FeatureSet(virtio.EventIdx))), vu.ErrRefused)
	echo(t, g, 0)
	assert.NilError(t, fe.SetStatus(0))
	now, err := fe.GetStatus()
	assert.NilError(t, err)
	assert.Equal(t, now, virtio.Status(0))
	silent(t, g, 0)
	assert.ErrorIs(t, fe.SetStatus(virtio.FeaturesOK), vu.ErrRefused) // no features were said
}

// RST_04: RESET_DEVICE forgets everything but the memory.
func TestRST_04_ResetDevice(t *testing.T) {
	y := newToy(2)
	g, _ := attached(t, y, vu.Options{})
	for range 5 {
		echo(t, g, 0)
		assert.NilError(t, g.FrontEnd.ResetDevice())
		silent(t, g, 0)
		assert.NilError(t, g.FrontEnd.SetFeatures(g.Features))
		for _, q := range g.Queues {
			q.Reset()
			assert.NilError(t, q.PlaceAt(0))
			assert.NilError(t, q.Enable())
		}
		echo(t, g, 1)
	}
	assert.Equal(t, y.lives(), 6)
}

// A front-end that comes while another one is served waits, and is served when that has left.
func TestSecondFrontEndWaits(t *testing.T) {
	s := newServer(t, newToy(1), Options{})
	fe, done := connect(t, s)
	g := newGuest(t, vu.Options{Sizes: []uint16{8}})
	assert.NilError(t, g.Attach(fe))
	second, secondDone := connect(t, s)
	assert.NilError(t, second.Send(vu.Message{Request: vu.GetFeatures, Flags: vu.Version}))
	echo(t, g, 0)
	assert.NilError(t, g.Detach())
	assert.NilError(t, ended(t, done))
	_, err := second.Receive()
	assert.NilError(t, err)
	h := newGuest(t, vu.Options{Sizes: []uint16{8}})
	assert.NilError(t, h.Attach(second))
	echo(t, h, 0)
	assert.NilError(t, h.Detach())
	assert.NilError(t, ended(t, secondDone))
}
