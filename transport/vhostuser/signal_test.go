package vhostuser

import (
	"math"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/emulator"
	vu "github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
)

// needReadThatDoesNotWait is for tests in which a write is held by a full eventfd.
func needReadThatDoesNotWait(t testing.TB) {
	t.Helper()
	if emulator.Here() {
		t.Skip("QEMU's user mode has no read that does not wait (preadv2)")
	}
}

// full is an eventfd, in blocking mode, that has no room for another signal.
func full(t testing.TB) *os.File {
	t.Helper()
	needReadThatDoesNotWait(t)
	f := newEventfd(t)
	_, err := unix.Write(bare(t, f), u64s(math.MaxUint64-1))
	assert.NilError(t, err)
	return f
}

// A front-end that fills its call eventfd to the brim holds its own device, and nobody else: the
// queue still stops, and the connection ends.
func TestFullEventfdHoldsNobody(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, g *vu.Guest){
		"disable":     func(t *testing.T, g *vu.Guest) { assert.NilError(t, g.Queues[0].Disable()) },
		"stop":        func(t *testing.T, g *vu.Guest) { _, err := g.Queues[0].Stop(); assert.NilError(t, err) },
		"another":     func(t *testing.T, g *vu.Guest) { assert.NilError(t, g.FrontEnd.SetVringCall(0, newEventfd(t))) },
		"features":    func(t *testing.T, g *vu.Guest) { assert.NilError(t, g.FrontEnd.ResetDevice()) },
		"just hangup": func(t *testing.T, g *vu.Guest) {},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, newToy(1), Options{})
			fe, done := connect(t, s)
			g := newGuest(t, vu.Options{Sizes: []uint16{8}})
			assert.NilError(t, g.Attach(fe))
			assert.NilError(t, fe.SetVringCall(0, full(t)))
			_, err := fe.GetFeatures()
			assert.NilError(t, err)
			q := g.Queues[0]
			for range 3 {
				_, err := q.Offer(vu.Writable(g.Memory.Alloc(8, 1), 8))
				assert.NilError(t, err)
			}
			assert.NilError(t, q.ForceKick())
			until(t, "answer", func() bool { return q.UsedIdx() == 3 })
			leave(t, g)
			_, err = fe.GetFeatures()
			assert.NilError(t, err)
			assert.NilError(t, g.Detach())
			assert.NilError(t, ended(t, done))
		})
	}
}

// A full err eventfd holds not even the goroutine that reads messages.
func TestFullErrEventfd(t *testing.T) {
	fe, done := connect(t, newServer(t, newToy(1), Options{}))
	g := newGuest(t, vu.Options{Sizes: []uint16{8}})
	assert.NilError(t, g.Negotiate(fe))
	assert.NilError(t, g.Share())
	assert.NilError(t, fe.SetVringErr(0, full(t)))
	assert.NilError(t, g.Queues[0].Place())
	for range 3 {
		assert.NilError(t, fe.SetVringAddr(0, 8, 8, 8))
		assert.NilError(t, g.Queues[0].Enable())
	}
	_, err := fe.GetFeatures()
	assert.NilError(t, err)
	assert.NilError(t, g.Detach())
	assert.NilError(t, ended(t, done))
}

// The descriptors are the front-end's too: the mode it has put them into stays.
func TestModeOfDescriptors(t *testing.T) {
	for _, mode := range []int{0, unix.O_NONBLOCK} {
		fe, done := connect(t, newServer(t, newToy(1), Options{}))
		g := newGuest(t, vu.Options{Sizes: []uint16{8}})
		assert.NilError(t, g.Attach(fe))
		var files []*os.File
		for range 3 {
			fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|mode)
			assert.NilError(t, err)
			f := os.NewFile(uintptr(fd), "eventfd")
			defer f.Close()
			files = append(files, f)
		}
		assert.NilError(t, fe.SetVringKick(0, files[0]))
		assert.NilError(t, fe.SetVringCall(0, files[1]))
		assert.NilError(t, fe.SetVringErr(0, files[2]))
		_, err := g.Queues[0].Offer(vu.Writable(g.Memory.Alloc(8, 1), 8))
		assert.NilError(t, err)
		signalFD(bare(t, files[0]), eventfd)
		until(t, "answer", func() bool { return g.Queues[0].UsedIdx() == 1 })
		assert.NilError(t, g.Detach())
		assert.NilError(t, ended(t, done))
		for _, f := range files {
			flags, err := unix.FcntlInt(uintptr(bare(t, f)), unix.F_GETFL, 0)
			assert.NilError(t, err)
			assert.Equal(t, flags&unix.O_NONBLOCK, mode)
		}
	}
}

// Signals through pipes and sockets neither block nor fail when nobody takes them, and closed
// ones are not looked at for ever.
func TestSignalKinds(t *testing.T) {
	pipes := func() (r, w int) {
		var p [2]int
		assert.NilError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
		return p[0], p[1]
	}
	sockets := func() (r, w int) {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		assert.NilError(t, err)
		return p[0], p[1]
	}
	for kind, make := range map[fdKind]func() (r, w int){pipe: pipes, socket: sockets} {
		r, w := make()
		got, err := kindOf(w)
		assert.NilError(t, err)
		assert.Equal(t, got, kind)
		for range 100_000 {
			signalFD(w, kind)
		}
		sink, n := newSink(), 0
		for {
			m, open := sink.drain(r, kind)
			assert.Assert(t, open)
			if m == 0 {
				break
			}
			n += m
		}
		assert.Assert(t, n >= 8)
		assert.NilError(t, unix.Close(r))
		signalFD(w, kind) // neither a signal nor an error
		assert.NilError(t, unix.Close(w))
	}
}

// A kick that was closed by the front-end is waited on no more, however it was closed.
func TestClosedKickIsForgotten(t *testing.T) {
	k, err := newKicks()
	assert.NilError(t, err)
	var p [2]int
	assert.NilError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
	assert.NilError(t, k.watch(0, p[0], pipe))
	e, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	assert.NilError(t, err)
	assert.NilError(t, k.watch(1, e, eventfd))
	signalFD(p[1], pipe)
	assert.NilError(t, unix.Close(p[1]))
	rounds := 0
	for !k.poll(0) || rounds < 3 { // the rest of the pipe, its end, and nothing
		if len(k.ready) == 0 {
			break
		}
		for i := range k.ready {
			if k.ready[i].Fd == 0 {
				k.drain(0)
			}
		}
		rounds++
	}
	assert.Assert(t, rounds <= 3)
	assert.Assert(t, !k.poll(0))
	signalFD(e, eventfd)
	assert.Assert(t, k.poll(0))
	assert.Assert(t, !k.poll(0), "an event twice")
	signalFD(e, eventfd) // whose count was never taken
	assert.Assert(t, k.poll(0))
	k.drop(1)
	k.drop(0)
	k.close()
}

// News that came before there was a descriptor goes to the first one.
func TestOwedSignal(t *testing.T) {
	fe, done := connect(t, newServer(t, newToy(1), Options{}))
	g := newGuest(t, vu.Options{Sizes: []uint16{8}})
	assert.NilError(t, g.Negotiate(fe))
	assert.NilError(t, g.Share())
	q := g.Queues[0]
	assert.NilError(t, q.Place())
	assert.NilError(t, fe.Tell(vu.SetVringCall, u64s(vu.NoFD)))
	assert.NilError(t, q.Enable())
	_, err := q.Offer(vu.Writable(g.Memory.Alloc(8, 1), 8))
	assert.NilError(t, err)
	assert.NilError(t, q.ForceKick())
	until(t, "answer", func() bool { return q.UsedIdx() == 1 })
	call := newEventfd(t)
	assert.NilError(t, fe.SetVringCall(0, call))
	heard(t, call)
	assert.NilError(t, g.Detach())
	assert.NilError(t, ended(t, done))
}

// A descriptor is replaced under the feet of whoever signals.
func TestReplaceWhileSignalling(t *testing.T) {
	needReadThatDoesNotWait(t)
	var g signal
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					g.raise()
				}
			}
		})
	}
	before := open(t)
	for range 200 {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		assert.NilError(t, err)
		_, err = unix.Write(fd, u64s(math.MaxUint64-2)) // full after one signal
		assert.NilError(t, err)
		g.replace(fd, eventfd)
	}
	g.clear()
	close(stop)
	wg.Wait()
	assert.Assert(t, open(t) <= before)
}
