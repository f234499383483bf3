package console

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// watchdog only turns a hang into a failure.
const watchdog = 10 * time.Second

// bubble runs a test where no time passes and a hang fails at once: for tests that touch
// nothing of the host.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// link is the device under test, and the driver's hands on it.
type link struct {
	t       testing.TB
	console *Device
	dev     *virtio.Device
	mem     *vringtest.Memory
	rings   []*vringtest.Ring
	heads   []int         // next free descriptor of each queue
	event   chan struct{} // the device has news; one token
	configs atomic.Int32  // configuration changes
	log     logBuffer
}

func (l *link) NotifyUsed(int) { l.Wake() }
func (l *link) NotifyConfig()  { l.configs.Add(1); l.Wake() }
func (l *link) Wake()          { poke(l.event) }

// newLink makes the device and starts a session of all its queues with the given features.
func newLink(t testing.TB, o Options, features ...virtio.Feature) *link {
	t.Helper()
	l := newIdleLink(t, o)
	l.start(features...)
	return l
}

// newIdleLink makes the device, but no driver comes.
func newIdleLink(t testing.TB, o Options) *link {
	t.Helper()
	region, err := shmem.NewMemfd("driver", 1<<20)
	assert.NilError(t, err)
	l := &link{t: t, mem: vringtest.NewMemory(region, 0x4000_0000), event: make(chan struct{}, 1)}
	l.console, err = New(o)
	assert.NilError(t, err)
	l.dev, err = virtio.NewDevice("console", l.console, l, virtio.Options{Log: slog.New(slog.NewTextHandler(&l.log, nil))})
	assert.NilError(t, err)
	for range l.dev.Info().Queues {
		l.rings = append(l.rings, l.mem.NewRing(l.mem.Modern(64)))
	}
	l.heads = make([]int, len(l.rings))
	t.Cleanup(func() {
		l.stop()
		l.console.Close()
		region.Close()
	})
	return l
}

func (l *link) start(features ...virtio.Feature) {
	l.t.Helper()
	clear(l.heads)
	assert.Equal(l.t, l.dev.SetDriverFeatures(virtio.FeatureSet(features...)), virtio.Features{})
	for i, r := range l.rings {
		r.Reset(0)
		assert.NilError(l.t, l.dev.EnableQueue(l.mem.Space, l.config(i)))
	}
	l.dev.Start()
}

// resume is another monitor's start under a driver that lives on.
func (l *link) resume(features ...virtio.Feature) {
	l.t.Helper()
	assert.Equal(l.t, l.dev.SetDriverFeatures(virtio.FeatureSet(features...)), virtio.Features{})
	for i, r := range l.rings {
		c := l.config(i)
		c.Start = r.UsedIdx()
		assert.NilError(l.t, l.dev.EnableQueue(l.mem.Space, c))
	}
	l.dev.Start()
}

// stop is the driver's reset: it returns when the device has let go.
func (l *link) stop() {
	l.t.Helper()
	l.dev.End()
	l.until("the device to let go", l.dev.Quiet)
}

// until waits for something that comes with an event.
func (l *link) until(what string, cond func() bool) {
	l.t.Helper()
	var late <-chan time.Time
	for !cond() {
		if late == nil {
			late = time.After(watchdog)
		}
		select {
		case <-l.event:
		case <-late:
			l.t.Fatalf("waited %v for %s", watchdog, what)
		}
	}
}

// offer makes a chain available on a queue and returns its head.
func (l *link) offer(queue int, d ...vringtest.Desc) uint32 {
	head := uint16(l.heads[queue]) % l.rings[queue].Size
	l.rings[queue].Chain(head, d...)
	l.heads[queue] += len(d)
	l.rings[queue].Offer(head)
	l.dev.Kick()
	return uint32(head)
}

// used waits for the next completion of a queue.
func (l *link) used(queue int) (e vringtest.Elem) {
	l.t.Helper()
	l.until(fmt.Sprintf("a used buffer of queue %d", queue), func() (ok bool) {
		if e, ok = l.rings[queue].Used(); !ok && l.dev.Broken() != nil {
			l.t.Fatalf("the device broke: %v", l.dev.Broken())
		}
		return ok
	})
	return e
}

// idle reports whether a queue has no completion to show.
func (l *link) idle(queue int) bool {
	r := *l.rings[queue]
	_, ok := r.Used()
	return !ok
}

// send offers text on a transmit queue, cut into descriptors of n bytes at most.
func (l *link) send(queue int, text string, n uint32) {
	d := vringtest.Readable(l.mem.Buffer([]byte(text)), uint32(len(text)))
	l.offer(queue, vringtest.Split(d, n)...)
}

// receive offers an empty buffer on a receive queue and returns its address.
func (l *link) receive(queue int, n uint64) (addr uint64) {
	addr = l.mem.Alloc(n, 1)
	l.offer(queue, vringtest.Writable(addr, uint32(n)))
	return addr
}

// received waits for the buffer at addr and returns what is in it.
func (l *link) received(queue int, addr uint64) string {
	l.t.Helper()
	return string(l.mem.Read(addr, uint64(l.used(queue).Len)))
}

// The driver's events (5.3.6.2), not taken from what is tested.
const driverReady, driverKnows, driverOpens = 0, 3, 6

// command sends a control message.
func (l *link) command(port uint32, event, value uint16) {
	l.t.Helper()
	l.send(queueControlTransmit, string(control(port, event, value)), 64)
	assert.Equal(l.t, l.used(queueControlTransmit).Len, uint32(0))
}

func control(port uint32, event, value uint16) []byte {
	b := binary.LittleEndian.AppendUint32(nil, port)
	b = binary.LittleEndian.AppendUint16(b, event)
	return binary.LittleEndian.AppendUint16(b, value)
}

// heard waits for the device's next control message and says what it is.
func (l *link) heard() string {
	l.t.Helper()
	addr := l.receive(queueControlReceive, 128)
	return describe(l.received(queueControlReceive, addr))
}

func describe(m string) string {
	b := []byte(m)
	if len(b) < controlHeader {
		return fmt.Sprintf("%d bytes", len(b))
	}
	port, event, value := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:])
	names := map[uint16]string{1: "ADD", 2: "REMOVE", 4: "CONSOLE", 5: "RESIZE", 6: "OPEN", 7: "NAME"}
	s := fmt.Sprintf("%d %s %d", port, names[event], value)
	if rest := b[controlHeader:]; event == 5 && len(rest) == 4 {
		s += fmt.Sprintf(" %d %d", binary.LittleEndian.Uint16(rest), binary.LittleEndian.Uint16(rest[2:]))
	} else if len(rest) > 0 {
		s += " " + string(rest)
	}
	return s
}

// logBuffer collects the log.
type logBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

// config is how a queue is enabled.
func (l *link) config(queue int) vring.Config {
	return vring.Config{Layout: l.rings[queue].Layout, Index: queue}
}
