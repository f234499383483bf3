package mmio

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// The scripted front-end: a driver of each deployed dialect as a list of single stores, written
// from docs/protocol.md and sharing nothing with package driver. It can die after any of them.

const (
	winAddr = 0x37000000
	winSize = 0x20000
	hang    = 5 * time.Second // only ever reached by a test that fails
)

type dialect int

const (
	zephyr2021 dialect = iota
	virtioExp
	v2025
)

var dialects = []dialect{zephyr2021, virtioExp, v2025}

func (d dialect) String() string { return [...]string{"zephyr2021", "virtio-exp", "v2025.04"}[d] }

// bell is the doorbell to the front-end: a merging token and a count.
type bell struct {
	c    chan struct{}
	rung atomic.Int64
}

func newBell() *bell { return &bell{c: make(chan struct{}, 1)} }

func (b *bell) ring() {
	b.rung.Add(1)
	select {
	case b.c <- struct{}{}:
	default:
	}
}

// testLine is the back-end's end of the doorbell. It knows when the bus sleeps, so that a test
// can go on in lock step.
type testLine struct {
	out *bell

	mu      sync.Mutex
	changed *sync.Cond
	token   bool
	asleep  bool
	dead    bool  // the process that waits here has been killed
	err     error // of Wait and Raise
	deaf    error // of Raise
}

func newTestLine() *testLine {
	l := &testLine{out: newBell()}
	l.changed = sync.NewCond(&l.mu)
	return l
}

func (l *testLine) Raise() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := cmp.Or(l.err, l.deaf)
	if err == nil && !l.dead {
		l.out.ring()
	}
	return err
}

func (l *testLine) Close() error { return nil }

func (l *testLine) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.token = true
	l.changed.Broadcast()
}

func (l *testLine) Wait() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asleep = true
	l.changed.Broadcast()
	for !l.token && !l.dead && l.err == nil {
		l.changed.Wait()
	}
	if l.dead {
		runtime.Goexit()
	}
	l.token, l.asleep = false, false
	return l.err
}

// fail makes the doorbell fail from now on.
func (l *testLine) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	l.changed.Broadcast()
}

// kick is the front-end's ring.
func (l *testLine) kick() { l.Wake() }

// settle waits until the bus sleeps with nothing to do, or stop says that it will not.
func (l *testLine) settle(stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !(l.asleep && !l.token) && !stop() {
		l.changed.Wait()
	}
}

// nudge makes settle ask again.
func (l *testLine) nudge() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed.Broadcast()
}

var _ notify.Line = (*testLine)(nil)

// toy is a device of n queues. Each request is answered with its queue number plus one, and
// how often the queue was served before in this session.
type toy struct {
	queues   int
	id       virtio.DeviceID
	size     uint16
	sizes    []uint16 // instead, one by one
	features virtio.Features
	loose    bool                                               // does not complete in order
	handle   func(q int, c *vring.Chain)                        // extra work, before the answer
	serve    func(ctx context.Context, s *virtio.Session) error // instead of all this
	ended    atomic.Int64                                       // sessions that returned
	served   atomic.Int64
	started  chan *virtio.Session // if not nil, told about each session

	mu         sync.Mutex
	config     []byte
	readConfig func() // called before each look at the configuration
}

func (d *toy) Info() virtio.Info {
	info := virtio.Info{ID: d.id, Features: d.features, Queues: d.sizes, ConfigLen: len(d.config), InOrder: !d.loose}
	for range d.queues - len(d.sizes) {
		info.Queues = append(info.Queues, d.size)
	}
	return info
}

func (d *toy) ReadConfig(p []byte, off int) {
	if d.readConfig != nil {
		d.readConfig()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(p, d.config[off:])
}

// setConfig makes the configuration space read otherwise.
func (d *toy) setConfig(config []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.config, config)
}

func (d *toy) Serve(ctx context.Context, s *virtio.Session) error {
	defer d.ended.Add(1)
	if d.started != nil {
		d.started <- s
	}
	if d.serve != nil {
		return d.serve(ctx, s)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i := range d.queues {
		wg.Go(func() {
			n := byte(0)
			cancel(s.Queue(i).Handle(ctx, func(c *vring.Chain) error {
				if d.handle != nil {
					d.handle(i, c)
				}
				d.served.Add(1)
				_, err := c.Write([]byte{byte(i + 1), n})
				n++
				return err
			}))
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// rig is a window with a bus on one side and room for a scripted front-end on the other.
type rig struct {
	t      testing.TB
	region *shmem.Region
	mem    shmem.Span
	line   *testLine
	bus    *Bus
	toys   []*toy
	cancel context.CancelFunc
	done   chan error
	log    *logBuffer

	pauseAt  atomic.Int64
	pauseDev atomic.Int64 // slot whose pauses count; -1 any
	pauseN   atomic.Int64 // counts down to the pause
	paused   chan struct{}
	resume   chan struct{}
	held     atomic.Bool // paused, or about to say so
	killed   atomic.Bool
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newRegion maps memory that the race detector leaves alone: both sides race on it by design.
func newRegion(t testing.TB) *shmem.Region { return newRegionOf(t, winSize) }

func newRegionOf(t testing.TB, size int64) *shmem.Region {
	t.Helper()
	r, err := shmem.NewMemfd("mmio-test", size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// newRig starts a bus over region with the given devices (one of two queues by default).
func newRig(t testing.TB, region *shmem.Region, change func(*Options), toys ...*toy) *rig {
	t.Helper()
	if len(toys) == 0 {
		toys = []*toy{{queues: 2, id: 0x4001}}
	}
	var backends []virtio.Backend
	for _, d := range toys {
		backends = append(backends, d)
	}
	return newRigOf(t, region, change, toys, backends...)
}

// newRigOf is newRig for toys that are dressed up as something more.
func newRigOf(t testing.TB, region *shmem.Region, change func(*Options), toys []*toy, backends ...virtio.Backend) *rig {
	t.Helper()
	mem, err := region.Span(0, region.Size())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, region: region, mem: mem, toys: toys, log: &logBuffer{},
		line:   newTestLine(),
		paused: make(chan struct{}), resume: make(chan struct{}),
	}
	r.pauseDev.Store(-1)
	opts := Options{
		Region: region, Addr: winAddr, Line: r.line,
		Log: slog.New(slog.NewTextHandler(io.Writer(r.log), nil)),
	}
	if change != nil {
		change(&opts)
	}
	if r.bus, err = NewBus(opts); err != nil {
		t.Fatal(err)
	}
	for i, d := range backends {
		if err := r.bus.Add(fmt.Sprintf("toy%d", i), d, 0); err != nil {
			t.Fatal(err)
		}
	}
	r.bus.hook = func(p point, s *slot) {
		if r.killed.Load() {
			runtime.Goexit()
		}
		if int64(p) != r.pauseAt.Load() || r.pauseN.Load() <= 0 {
			return
		}
		if only := r.pauseDev.Load(); only >= 0 && s != r.bus.slots[only] {
			return
		}
		if r.pauseN.Add(-1) == 0 {
			r.held.Store(true)
			r.line.nudge()
			r.paused <- struct{}{}
			<-r.resume
			if r.killed.Load() {
				runtime.Goexit()
			}
		}
	}
	return r
}

// start runs the bus until the test ends or stop is called.
func (r *rig) start() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan error, 1)
	ready := make(chan struct{})
	r.bus.opts.Ready = func() { close(ready) }
	go func() {
		err := errKilled
		defer func() { r.done <- err }()
		err = r.bus.Run(ctx)
	}()
	select {
	case <-ready:
	case err := <-r.done:
		r.t.Fatalf("bus did not start: %v", err)
	}
	r.t.Cleanup(r.stop)
	return r
}

var errKilled = errors.New("killed")

// kill ends the monitor as kill -9 does, at its pause if it stands at one: nothing it would
// have done later is done.
func (r *rig) kill() {
	r.t.Helper()
	r.killed.Store(true)
	r.abandon()
	for _, s := range r.bus.slots {
		s.dev.End()
		r.until("the end of a dead monitor's workers", s.dev.Quiet)
	}
	for _, p := range r.bus.pages {
		p.Stop()
		r.until("the end of a dead monitor's workers", p.Quiet)
	}
}

// abandon ends the goroutine of the bus where it stands. Its workers stay as they are.
func (r *rig) abandon() {
	r.t.Helper()
	r.line.mu.Lock()
	r.line.dead = true
	r.line.changed.Broadcast()
	r.line.mu.Unlock()
	if r.held.Load() {
		r.goOn()
	}
	if err := r.wait(); err != errKilled {
		r.t.Fatalf("bus ended with %v before it could be killed", err)
	}
}

func (r *rig) stop() {
	if r.cancel == nil {
		return
	}
	r.pauseN.Store(0)
	r.cancel()
	if err := r.wait(); err != nil {
		r.t.Errorf("bus: %v", err)
	}
}

// wait waits for the end of Run.
func (r *rig) wait() error {
	r.t.Helper()
	r.cancel = nil
	for {
		select {
		case err := <-r.done:
			return err
		case <-r.paused:
			r.resume <- struct{}{}
		case <-time.After(hang):
			r.t.Fatalf("bus does not stop; log:\n%s", r.log)
		}
	}
}

// pause arms the n-th passing of a point.
func (r *rig) pause(p point, n int) {
	r.pauseAt.Store(int64(p))
	r.pauseN.Store(int64(n))
}

// awaitPause waits until the armed point is reached.
func (r *rig) awaitPause() {
	r.t.Helper()
	select {
	case <-r.paused:
	case <-time.After(hang):
		r.t.Fatalf("back-end never reached point %d; log:\n%s", r.pauseAt.Load(), r.log)
	}
}

func (r *rig) goOn() {
	r.held.Store(false)
	r.resume <- struct{}{}
}

// settle lets the bus do what it has to do, up to its sleep or its pause.
func (r *rig) settle() { r.line.settle(r.held.Load) }

// frontEnd is one boot of a driver for one device.
type frontEnd struct {
	*rig
	dialect dialect
	slot    int
	header  uint64   // offset of the registers in the window
	pages   []uint64 // page number of each queue's ring, in 4 KiB from the window's start
	nums    []uint16
	noload  bool // rings survive a reboot
	lax     bool // answers may be those of a second attempt
	dozes   bool // looks for an acknowledgement once, then only at an interrupt

	at map[int]vring.Layout // queues that lie elsewhere

	acked []bool
	seen  []uint16 // used index as the interrupt handler saw it
	sub   []uint16 // requests offered
	pc    int
	polls int // in vain, for the step at pc
	steps []step
}

// step is one store, or ring, or wait of the driver's main thread. A wait reports false while
// it has to wait.
type step struct {
	name string
	do   func() bool
	poll bool // a wait that looks again without an interrupt
}

func newFrontEnd(r *rig, d dialect, slot int) *frontEnd {
	f := &frontEnd{rig: r, dialect: d, slot: slot, header: uint64(slot) * HeaderSize, at: map[int]vring.Layout{}}
	for i := range r.toys[slot].queues {
		f.pages = append(f.pages, uint64(1+8*slot+2*i))
		f.nums = append(f.nums, 2<<i)
	}
	f.boot()
	return f
}

func (f *frontEnd) reg(off uint64) uint64 { return f.header + off }
func (f *frontEnd) get(off uint64) uint32 { return f.mem.Load32(f.reg(off)) }
func (f *frontEnd) put(off uint64, v uint32) {
	f.mem.Store32(f.reg(off), v)
}

func (f *frontEnd) layout(q int) vring.Layout {
	if l, ok := f.at[q]; ok {
		return l
	}
	return vring.Legacy(f.pages[q]*PageSize, f.nums[q], PageSize)
}

func (f *frontEnd) pfn(q int) uint32 { return uint32(winAddr/PageSize + f.pages[q]) }

// buffer is where the answers of queue q go; its second word is a canary.
func (f *frontEnd) buffer(q int) uint64 { return 0x18000 + uint64(f.slot)*0x400 + uint64(q)*0x100 }

// boot makes a new life of the driver: private state is fresh, registers and, with noload,
// rings are what they were.
func (f *frontEnd) boot() {
	n := len(f.pages)
	clear(f.at)
	f.acked, f.seen, f.sub = make([]bool, n), make([]uint16, n), make([]uint16, n)
	f.pc, f.steps = 0, nil
	for q := range n {
		l := f.layout(q)
		if !f.noload {
			f.mem.Zero(l.Desc, vring.LegacyBytes(f.nums[q], PageSize))
		}
		f.mem.Store64Plain(l.Desc, winAddr+f.buffer(q))
		f.mem.Store64Plain(l.Desc+8, 8|vring.DescWrite<<32)
		f.mem.Store64Plain(f.buffer(q), 0)
		f.mem.Store64Plain(f.buffer(q)+8, 0xC0FFEE)
	}
	ring := func() { f.add("ring", func() bool { f.line.kick(); return true }) }
	status := func(v uint32) {
		f.store(fmt.Sprintf("Status=%d", v), RegStatus, func() uint32 {
			if f.dialect == v2025 {
				return f.get(RegStatus) | v
			}
			return v
		})
		ring()
	}
	status(1)
	f.store("GuestPageSize", RegGuestPageSize, value(PageSize))
	status(2)
	f.store("DeviceFeaturesSel", RegDeviceFeaturesSel, value(0))
	f.store("DriverFeatures", RegDriverFeatures, value(0))
	ring()
	for q := range n {
		f.store(fmt.Sprintf("QueueSel=%d", q), RegQueueSel, value(uint32(q)))
		f.store(fmt.Sprintf("QueueNum %d", q), RegQueueNum, value(uint32(f.nums[q])))
		if f.dialect == zephyr2021 {
			ring()
		}
		f.store(fmt.Sprintf("QueueAlign %d", q), RegQueueAlign, value(PageSize))
		f.store(fmt.Sprintf("QueuePFN %d", q), RegQueuePFN, value(f.pfn(q)))
		ring()
		f.add(fmt.Sprintf("ack %d", q), func() bool {
			if f.get(RegQueuePFN) != QueueAck {
				return false
			}
			f.acked[q] = true
			return true
		})
		f.steps[len(f.steps)-1].poll = true
		if f.dialect != zephyr2021 {
			f.store(fmt.Sprintf("rewrite %d", q), RegQueuePFN, value(f.pfn(q)))
		}
	}
	status(4)
	for q := range n {
		f.add(fmt.Sprintf("offer %d", q), func() bool { f.offer(q); return true })
		ring()
	}
	for q := range n {
		f.add(fmt.Sprintf("answer %d", q), func() bool { return f.seen[q] == f.sub[q] })
	}
}

func value(v uint32) func() uint32 { return func() uint32 { return v } }

func (f *frontEnd) add(name string, do func() bool) {
	f.steps = append(f.steps, step{name: name, do: do})
}

func (f *frontEnd) store(name string, reg uint64, v func() uint32) {
	f.add(name, func() bool { f.put(reg, v()); return true })
}

// offer makes descriptor 0 of queue q available once more.
func (f *frontEnd) offer(q int) {
	l := f.layout(q)
	f.mem.Store16Plain(l.Avail+4+2*uint64(f.sub[q]%f.layout(q).Size), 0)
	f.sub[q]++
	f.mem.Store32(l.Avail, uint32(f.sub[q])<<16)
}

// interrupt is the driver's interrupt handler, as deployed: callbacks if bit 0 is set, then an
// unconditional acknowledgement, then a ring if it was not 0.
func (f *frontEnd) interrupt() {
	is := f.get(RegInterruptStatus)
	if is&InterruptUsed != 0 {
		f.callbacks()
	}
	f.put(RegInterruptACK, is)
	if is != 0 {
		f.line.kick()
	}
}

func (f *frontEnd) callbacks() {
	for q := range f.pages {
		if f.acked[q] {
			f.seen[q] = f.mem.Load16(f.layout(q).Used + 2)
		}
	}
}

// run goes on until the step named (not included) or the end. A wait that nothing answers
// fails the test.
func (f *frontEnd) run(until string) {
	f.t.Helper()
	for f.pc < len(f.steps) && f.steps[f.pc].name != until {
		if f.advance() {
			continue
		}
		f.sleep()
	}
	if f.pc == len(f.steps) && until != "" {
		f.t.Fatalf("no step %q", until)
	}
}

// sleep waits for an interrupt and runs its handler.
func (f *frontEnd) sleep() {
	f.t.Helper()
	if f.steps[f.pc].poll && !f.dozes {
		if f.settle(); f.advance() {
			return
		}
	}
	var again <-chan time.Time // a poll of the driver's own
	if f.steps[f.pc].poll && !f.dozes {
		again = time.After(time.Millisecond)
	}
	select {
	case <-again:
		if f.polls++; f.polls < int(hang/time.Millisecond) {
			return
		}
	case <-f.line.out.c:
		f.interrupt()
		return
	case <-f.paused:
		f.t.Fatalf("back-end paused while %v waits at %q", f.dialect, f.steps[f.pc].name)
	case <-time.After(hang):
	}
	f.t.Fatalf("%v hangs at %q: PFN %#x GPS %d Align %d Sel %d Status %d IS %d seen %v of %v; log:\n%s",
		f.dialect, f.steps[f.pc].name, f.get(RegQueuePFN), f.get(RegGuestPageSize), f.get(RegQueueAlign),
		f.get(RegQueueSel), f.get(RegStatus), f.get(RegInterruptStatus), f.seen, f.sub, f.log)
}

// advance does one step; false means that it has to wait.
func (f *frontEnd) advance() bool {
	if !f.steps[f.pc].do() {
		return false
	}
	f.pc++
	f.polls = 0
	return true
}

// rest runs to the end and checks that each request of this life was answered once, by its own
// queue.
func (f *frontEnd) rest() {
	f.t.Helper()
	f.run("")
	f.verify()
}

func (f *frontEnd) verify() {
	f.t.Helper()
	for q := range f.pages {
		l := f.layout(q)
		if used := f.mem.Load16(l.Used + 2); used != f.sub[q] {
			f.t.Fatalf("queue %d: used index %d after %d requests; log:\n%s", q, used, f.sub[q], f.log)
		}
		if f.sub[q] == 0 {
			continue
		}
		var b [16]byte
		f.mem.ReadAt(b[:], f.buffer(q))
		if b[0] != byte(q+1) || !f.lax && b[1] != byte(f.sub[q]-1) || b[8] != 0xEE {
			f.t.Fatalf("queue %d: answer % x after %d requests; log:\n%s", q, b, f.sub[q], f.log)
		}
		last := l.Used + 4 + 8*uint64((f.sub[q]-1)%f.nums[q])
		if n := f.mem.Load32(last + 4); n != 2 {
			f.t.Fatalf("queue %d: used length %d, want 2", q, n)
		}
	}
}

// more offers one request on each queue again and waits for the answers.
func (f *frontEnd) more() {
	f.t.Helper()
	for q := range f.pages {
		f.offer(q)
		f.line.kick()
	}
	for q := range f.pages {
		for f.seen[q] != f.sub[q] {
			f.pc = len(f.steps) - 1
			f.sleep()
		}
	}
	f.verify()
}

// hello is the start of a boot, up to the first queue.
func (f *frontEnd) hello(page uint32) {
	f.put(RegStatus, 1)
	f.line.kick()
	f.put(RegGuestPageSize, page)
	f.put(RegStatus, 3)
	f.line.kick()
	f.settle()
}

// ask asks for a queue and reports whether it was acknowledged.
func (f *frontEnd) ask(r request, align uint32) bool {
	f.put(RegQueueSel, r.sel)
	f.put(RegQueueNum, r.num)
	f.put(RegQueueAlign, align)
	f.put(RegQueuePFN, r.pfn)
	f.line.kick()
	f.settle()
	return f.get(RegQueuePFN) == QueueAck
}

// wipe clears a window between two tests.
func wipe(t testing.TB, region *shmem.Region) {
	t.Helper()
	all, err := region.Span(0, region.Size())
	if err != nil {
		t.Fatal(err)
	}
	all.Zero(0, all.Len())
}
