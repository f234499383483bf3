package vhostuser

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	vu "github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
)

// laps is a driver that sends the same chains round and round, over the signals of a real
// front-end: a kick for each batch, and sleep until the call.
type laps struct {
	avail, used shmem.Span
	kick, call  int
	idx, n      uint16
	buf         [8]byte
}

// newLaps connects a device that gives back what it gets.
func newLaps(t testing.TB, n uint16) *laps {
	const size = 256
	fe, _ := connect(t, newServer(t, newToy(1), Options{}))
	g := newGuest(t, vu.Options{Sizes: []uint16{size}})
	assert.NilError(t, g.Attach(fe))
	q := g.Queues[0]
	out, in := g.Memory.Alloc(64, 8), g.Memory.Alloc(64, 8)
	desc := g.Memory.Span(q.Desc, q.DescBytes())
	l := &laps{avail: g.Memory.Span(q.Avail, q.AvailBytes()), used: g.Memory.Span(q.Layout.Used, q.UsedBytes()), n: n}
	for i := range n {
		desc.Store64Plain(32*uint64(i), out)
		desc.Store64Plain(32*uint64(i)+8, 64|1<<32|uint64(2*i+1)<<48)
		desc.Store64Plain(32*uint64(i)+16, in)
		desc.Store64Plain(32*uint64(i)+24, 64|2<<32)
	}
	for i := range uint16(size) {
		l.avail.Store16Plain(4+2*uint64(i), i%n*2)
	}
	kick, call := newEventfd(t), newEventfd(t)
	l.kick, l.call = bare(t, kick), bare(t, call)
	assert.NilError(t, fe.SetVringKick(0, kick))
	assert.NilError(t, fe.SetVringCall(0, call))
	_, err := fe.GetFeatures() // both are in use now
	assert.NilError(t, err)
	return l
}

// bare is the number of a descriptor, and its file left in the mode it is in.
func bare(t testing.TB, f *os.File) (fd int) {
	raw, err := f.SyscallConn()
	assert.NilError(t, err)
	assert.NilError(t, raw.Control(func(n uintptr) { fd = int(n) }))
	return fd
}

// lap sends the chains and sleeps until all of them are back.
func (l *laps) lap() {
	l.idx += l.n
	l.avail.Store32(0, uint32(l.idx)<<16)
	signalFD(l.kick, eventfd)
	for l.used.Load16(2) != l.idx {
		if _, err := unix.Read(l.call, l.buf[:]); err != nil {
			panic(err)
		}
	}
}

// From kick to call nothing is allocated.
func TestNoAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	for _, n := range []uint16{1, 40} {
		l := newLaps(t, n)
		for range 10 {
			l.lap()
		}
		assert.Equal(t, testing.AllocsPerRun(500, l.lap), 0.0, "%d at a time", n)
	}
}

// BenchmarkQueue is one round of kick, device and call, and the chains of it. What the two
// signals alone take is BenchmarkEventfds.
func BenchmarkQueue(b *testing.B) {
	for _, n := range []uint16{1, 8, 64} {
		b.Run(fmt.Sprintf("%d at a time", n), func(b *testing.B) {
			l := newLaps(b, n)
			l.lap()
			b.ReportAllocs()
			for b.Loop() {
				l.lap()
			}
			b.ReportMetric(float64(b.N)*float64(n)/b.Elapsed().Seconds(), "chains/s")
		})
	}
}

// BenchmarkEventfds is two goroutines that wake each other by eventfds, and nothing else.
func BenchmarkEventfds(b *testing.B) {
	there, back := bare(b, newEventfd(b)), bare(b, newEventfd(b))
	done := make(chan struct{})
	go func() {
		defer close(done)
		var p [8]byte
		for {
			_, err := unix.Read(there, p[:])
			if err != nil || p[0] > 1 {
				return
			}
			signalFD(back, eventfd)
		}
	}()
	var p [8]byte
	b.ReportAllocs()
	for b.Loop() {
		signalFD(there, eventfd)
		if _, err := unix.Read(back, p[:]); err != nil {
			b.Fatal(err)
		}
	}
	p = [8]byte{2}
	_, err := unix.Write(there, p[:])
	assert.NilError(b, err)
	<-done
}
