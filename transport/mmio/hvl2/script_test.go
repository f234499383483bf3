package hvl2

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// The scripted driver: loads and stores on the page as docs/hvl-v2.md has them, sharing nothing
// with package driver. It runs in lock step with the slot, so a test says what happens when.

const (
	base    = 0x37000000
	slotOff = 0x2000
	memOff  = 0x10000
	memSize = 0x20000
	winSize = memOff + memSize
	hang    = 10 * time.Second // only ever reached by a test that fails
)

// place is where the tests' slot lies. The in-flight words are enough for four queues.
func place() Place {
	return Place{
		SlotOff: slotOff, MemOff: memOff, MemSize: memSize, AddrBase: base + memOff,
		InflightOff: 0x3000, InflightSize: 0x1000,
	}
}

// rig is a window with one slot, and what both sides of it need.
type rig struct {
	t       testing.TB
	region  *shmem.Region
	page    shmem.Span
	slot    *Slot
	opts    Options
	backend virtio.Backend
	woken   chan struct{} // a wake-up of the slot
	news    chan struct{} // a ring of the driver
	rings   *atomic.Int64 // how many of them
	log     *logbook
	vqs     []*vq
	doom    []int // the monitor dies before its n-th store, its successor before its own, …
	mayLose bool  // a successor may lose the state
	stops   [4]atomic.Pointer[stop]
}

// stop is where a queue's owner stops in the middle of an access: it says so, and waits.
type stop struct{ there, leave chan struct{} }

// newRegion is memory that the race detector leaves alone: both sides race on it by design.
func newRegion(t testing.TB, size int64) *shmem.Region {
	region, err := shmem.NewMemfd("hvl2-test", size)
	assert.NilError(t, err)
	t.Cleanup(func() { region.Close() })
	return region
}

// newRig is a slot on a fresh window, started.
func newRig(t testing.TB, b virtio.Backend, change ...func(*Options)) *rig {
	r := &rig{t: t, region: newRegion(t, winSize), backend: b, log: new(logbook)}
	r.opts = Options{Place: place(), Log: slog.New(slog.NewTextHandler(r.log, nil))}
	for _, c := range change {
		c(&r.opts)
	}
	r.monitor()
	assert.NilError(t, r.slot.Start())
	return r
}

// monitor makes a slot on the memory that is there, as a monitor that begins.
func (r *rig) monitor() {
	r.t.Helper()
	woken, news, rings := make(chan struct{}, 1), make(chan struct{}, 1), new(atomic.Int64)
	r.woken, r.news, r.rings = woken, news, rings
	r.opts.Region = r.region
	r.opts.Wake = func() { post(woken) }
	r.opts.Ring = func() {
		rings.Add(1)
		post(news)
	}
	var err error
	r.slot, err = New("toy", r.backend, r.opts)
	assert.NilError(r.t, err)
	r.page, err = r.region.Span(r.opts.Place.SlotOff, PageSize)
	assert.NilError(r.t, err)
	slot := r.slot
	for i := range slot.inflight {
		slot.inflight[i].hook = func() {
			if s := r.stops[i].Swap(nil); s != nil {
				close(s.there)
				<-s.leave
			}
		}
	}
	r.t.Cleanup(func() {
		slot.hook = nil
		for !slot.Stop() {
			select {
			case <-woken:
			case <-time.After(time.Second): // of a test that has failed in the middle
				return
			}
		}
	})
}

// kill is SIGKILL: whatever the monitor's threads do from now on, they do it to other memory.
func (r *rig) kill() {
	r.t.Helper()
	old, err := r.region.Span(0, winSize)
	assert.NilError(r.t, err)
	image := make([]byte, winSize)
	old.ReadAt(image, 0)
	r.region = newRegion(r.t, winSize)
	now, err := r.region.Span(0, winSize)
	assert.NilError(r.t, err)
	now.WriteAt(image, 0)
	r.monitor()
}

// restart is a kill and the start of a successor with this backend.
func (r *rig) restart(b virtio.Backend) {
	r.t.Helper()
	r.backend = b
	r.kill()
	assert.NilError(r.t, r.slot.Start())
}

func post(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// logbook is a log that tests can look at.
type logbook struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ring is the driver's doorbell.
func (r *rig) ring() {
	r.t.Helper()
	if r.alive(func() {
		_, err := r.slot.Scan()
		assert.NilError(r.t, err)
	}) {
		return
	}
	for dead := true; dead; {
		r.kill()
		r.arm()
		dead = !r.alive(func() {
			assert.NilError(r.t, r.slot.Start())
			_, err := r.slot.Scan()
			assert.NilError(r.t, err)
		})
	}
}

// until has the slot do what it wants to do until something is so.
func (r *rig) until(what string, so func() bool) {
	r.t.Helper()
	watchdog := time.NewTimer(hang)
	defer watchdog.Stop()
	for !so() {
		select {
		case <-r.woken:
			r.ring()
		case <-r.news:
		case <-watchdog.C:
			r.t.Fatalf("waited in vain: %s\n%s", what, r.log)
		}
	}
}

func (r *rig) load(off uint64) uint32     { return r.page.Load32(off) }
func (r *rig) store(off uint64, v uint32) { r.page.Store32(off, v) }
func (r *rig) acked() bool                { return r.load(OffTxnAck) == r.load(OffTxnSeq) }

// begin stores a transaction and rings; it may not be acknowledged yet.
func (r *rig) begin(reg, val uint32, width ...uint32) {
	r.t.Helper()
	w := uint32(4)
	if len(width) > 0 {
		w = width[0]
	}
	assert.Assert(r.t, r.acked(), "a transaction is outstanding")
	r.store(OffTxnVal, val)
	r.store(OffTxnCmd, Command(reg, w))
	r.store(OffTxnSeq, r.load(OffTxnSeq)+1)
	r.ring()
}

// write is a whole transaction.
func (r *rig) write(reg, val uint32, width ...uint32) Result {
	r.t.Helper()
	r.begin(reg, val, width...)
	r.until(fmt.Sprintf("acknowledgement of %#x <- %#x", reg, val), r.acked)
	return Result(r.load(OffTxnResult))
}

// must is a transaction that is done.
func (r *rig) must(reg, val uint32, width ...uint32) {
	r.t.Helper()
	res := r.write(reg, val, width...)
	if res == ResetFirst && r.mayLose {
		panic(lost{})
	}
	assert.Equal(r.t, res, Done, "%#x <- %#x\n%s", reg, val, r.log)
}

func (r *rig) status() virtio.Status { return virtio.Status(r.load(RegStatus)) }

// attach is the start of every driver.
func (r *rig) attach() {
	r.t.Helper()
	r.ring()
	r.until("the predecessor's transaction", r.acked)
	r.must(RegStatus, 0)
	assert.Equal(r.t, r.status(), virtio.Status(0))
	r.store(OffUsedSeen, r.load(OffUsedEvents))
	r.store(OffConfigSeen, r.load(OffConfigEvents))
}

// offered reads all feature windows.
func (r *rig) offered() (f virtio.Features) {
	r.t.Helper()
	for i := range uint32(4) {
		r.must(RegDeviceFeaturesSel, i)
		f = f.SetWord(i, r.load(RegDeviceFeatures))
	}
	return f
}

// accept writes a feature set and FEATURES_OK.
func (r *rig) accept(f virtio.Features) {
	r.t.Helper()
	r.must(RegStatus, 1)
	r.must(RegStatus, 3)
	for i := range uint32(4) {
		r.must(RegDriverFeaturesSel, i)
		r.must(RegDriverFeatures, f.Word(i))
	}
	r.must(RegStatus, 11)
}

// enable selects a queue, writes its geometry and makes it ready; the result is that of the last
// write.
func (r *rig) enable(i uint32, l vring.Layout) Result {
	r.t.Helper()
	r.must(RegQueueSel, i)
	assert.Equal(r.t, r.load(RegQueueReady), uint32(0))
	r.must(RegQueueSize, uint32(l.Size))
	for reg, addr := range map[uint32]uint64{RegQueueDescLow: l.Desc, RegQueueDriverLow: l.Avail, RegQueueDeviceLow: l.Used} {
		r.must(reg, uint32(addr))
		r.must(reg+4, uint32(addr>>32))
	}
	return r.write(RegQueueReady, 1)
}

// up brings the device up with everything that is offered, and n queues.
func (r *rig) up(n int) {
	r.t.Helper()
	r.attach()
	r.prepare(n)
	r.must(RegStatus, 15)
	assert.Equal(r.t, r.status(), virtio.Status(15))
}

// prepare is bring-up but for DRIVER_OK.
func (r *rig) prepare(n int) {
	r.t.Helper()
	r.accept(r.offered())
	assert.Equal(r.t, r.status(), virtio.Status(11), "%s", r.log)
	for i := range uint32(n) {
		r.q(i).zero()
		res := r.enable(i, r.q(i).layout())
		if res == ResetFirst && r.mayLose {
			panic(lost{})
		}
		assert.Equal(r.t, res, Done, "%s", r.log)
		assert.Equal(r.t, r.load(RegQueueReady), uint32(1))
	}
}

// vq is the driver's side of one queue. Where it stands is of the driver's life, not of the
// window's, and so survives a kill of the monitor.
type vq struct {
	r            *rig
	i            uint64
	avail, taken uint16
}

const (
	ringSize = 8
	room     = 16 // bytes of every buffer
)

func (r *rig) q(i uint32) *vq {
	for uint32(len(r.vqs)) <= i {
		r.vqs = append(r.vqs, &vq{r: r, i: uint64(len(r.vqs))})
	}
	return r.vqs[i]
}

func (q *vq) layout() vring.Layout {
	at := base + memOff + 0x4000*q.i
	return vring.Layout{Size: ringSize, Desc: at, Avail: at + 0x1000, Used: at + 0x2000}
}

// span is memory of the driver's, by its address.
func (r *rig) span(addr, n uint64) shmem.Span {
	r.t.Helper()
	s, err := r.region.Span(addr-base, n)
	assert.NilError(r.t, err)
	return s
}

func (q *vq) zero() {
	at := q.r.span(q.layout().Desc, 0x4000)
	at.Zero(0, at.Len())
	q.avail, q.taken = 0, 0
}

// out and in are the buffers of a head: one for the device to read, one for it to write.
func (q *vq) out(head uint16) uint64 { return q.layout().Desc + 0x3000 + 2*room*uint64(head) }
func (q *vq) in(head uint16) uint64  { return q.out(head) + room }

// describe is a request of n bytes at head, which takes two descriptors: head and head+1.
func (q *vq) describe(head uint16, text string) {
	q.r.span(q.out(head), room).WriteAt([]byte(text), 0)
	d := q.r.span(q.layout().Desc, 16*ringSize)
	put := func(i uint64, addr uint64, n, flags uint32) {
		d.Store64Plain(16*i, addr)
		d.Store32Plain(16*i+8, n)
		d.Store32Plain(16*i+12, flags)
	}
	put(uint64(head), q.out(head), uint32(len(text)), vring.DescNext|uint32(head+1)<<16)
	put(uint64(head)+1, q.in(head), room, vring.DescWrite)
}

// offer makes a request available, without a ring.
func (q *vq) offer(head uint16, text string) {
	q.describe(head, text)
	q.expose(head)
}

func (q *vq) expose(head uint16) {
	a := q.r.span(q.layout().Avail, 6+2*ringSize)
	a.Store16Plain(4+2*uint64(q.avail%ringSize), head)
	q.avail++
	a.Store32(0, uint32(q.avail)<<16)
}

func (q *vq) usedIdx() uint16 { return q.r.span(q.layout().Used, 4).Load16(2) }

// take is the next request that came back: its head and the answer. ok is false if none did.
func (q *vq) take() (head uint16, answer string, ok bool) {
	if q.usedIdx() == q.taken {
		return 0, "", false
	}
	elem := q.r.span(q.layout().Used+4+8*uint64(q.taken%ringSize), 8)
	q.taken++
	q.r.span(q.layout().Avail, 6+2*ringSize).Store16Plain(4+2*ringSize, q.taken) // used_event
	head = uint16(elem.Load32(0))
	p := make([]byte, min(elem.Load32(4), room))
	q.r.span(q.in(head), room).ReadAt(p, 0)
	return head, string(p), true
}

// came waits for the next answer.
func (q *vq) came() (head uint16, answer string) {
	q.r.t.Helper()
	q.r.until("an answer", func() (ok bool) {
		if q.r.mayLose && q.r.status()&virtio.NeedsReset != 0 {
			panic(lost{})
		}
		head, answer, ok = q.take()
		return ok
	})
	return head, answer
}

// mustServe proves that the queue is served.
func (q *vq) mustServe() {
	q.r.t.Helper()
	text := fmt.Sprintf("ping %d", q.avail)
	q.offer(2*(q.avail%(ringSize/2)), text)
	q.r.ring()
	_, answer := q.came()
	assert.Equal(q.r.t, answer, text)
}
