package rng

import (
	"log/slog"
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

// bubble is a subtest on a clock of its own: it moves when everything waits, so rates can be
// measured to the nanosecond, and a hang fails at once.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// link is the device under test, and the driver's hands on it.
type link struct {
	t     testing.TB
	dev   *virtio.Device
	mem   *vringtest.Memory
	ring  *vringtest.Ring
	head  int           // next free descriptor
	event chan struct{} // the device has news; one token
}

func (l *link) NotifyUsed(int) { l.Wake() }
func (l *link) NotifyConfig()  { l.Wake() }
func (l *link) Wake() {
	select {
	case l.event <- struct{}{}:
	default:
	}
}

// newLink starts a session of the device on a queue of 256 entries in size bytes of memory.
func newLink(t testing.TB, d *Device, size int64) *link {
	t.Helper()
	region, err := shmem.NewMemfd("driver", size)
	assert.NilError(t, err)
	l := &link{t: t, mem: vringtest.NewMemory(region, 0x4000_0000), event: make(chan struct{}, 1)}
	l.ring = l.mem.NewRing(l.mem.Modern(256))
	l.dev, err = virtio.NewDevice("rng", d, l, virtio.Options{Log: slog.New(slog.DiscardHandler)})
	assert.NilError(t, err)
	l.start()
	t.Cleanup(func() {
		l.stop()
		region.Close()
	})
	return l
}

func (l *link) start() {
	l.t.Helper()
	l.ring.Reset(0)
	l.head = 0
	assert.NilError(l.t, l.dev.EnableQueue(l.mem.Space, vring.Config{Layout: l.ring.Layout}))
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

// offer makes a chain available.
func (l *link) offer(d ...vringtest.Desc) {
	head := uint16(l.head)
	l.ring.Chain(head, d...)
	l.head += len(d)
	l.ring.Offer(head)
	l.dev.Kick()
}

// writable offers one empty buffer and returns its address.
func (l *link) writable(n uint64) (addr uint64) {
	addr = l.mem.Alloc(n, 1)
	l.offer(vringtest.Writable(addr, uint32(n)))
	return addr
}

// used waits for the next completion.
func (l *link) used() (e vringtest.Elem) {
	l.t.Helper()
	l.until("a used buffer", func() (ok bool) {
		if e, ok = l.ring.Used(); !ok && l.dev.Broken() != nil {
			l.t.Fatalf("the device broke: %v", l.dev.Broken())
		}
		return ok
	})
	return e
}

// counter is a source whose bytes tell where they belong.
type counter struct{ next byte }

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = c.next
		c.next++
	}
	return len(p), nil
}
