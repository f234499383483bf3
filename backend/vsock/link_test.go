package vsock

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
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
const watchdog = 20 * time.Second

// bubble runs a test where no time passes and a hang fails at once: for tests that touch
// nothing of the host.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

const (
	guest    = 42  // the driver's CID
	ringSize = 256 // entries
	tap      = 700 // a port of the driver's
	service  = 80  // one of the host's
)

// link is the device under test, and the driver's hands on it. The driver has one buffer for
// each entry of the rings.
type link struct {
	t     testing.TB
	vsock *Device
	dev   *virtio.Device
	mem   *vringtest.Memory
	rings []*vringtest.Ring
	bufs  [2][ringSize]uint64
	size  uint64        // of a buffer
	heads []int         // next free descriptor of each queue
	event chan struct{} // the device has news; one token

	tell credit // the driver's side of the credit, the same for all connections
}

func (l *link) NotifyUsed(int) { l.Wake() }
func (l *link) NotifyConfig()  { l.Wake() }
func (l *link) Wake()          { poke(l.event) }

// newLink makes the device and starts a session with the given features, all if there are none.
func newLink(t testing.TB, o Options, features ...virtio.Feature) *link {
	t.Helper()
	l := newIdleLink(t, o, 4<<10)
	if len(features) == 0 {
		features = []virtio.Feature{FeatureStream, FeatureSeqpacket}
	}
	l.start(features...)
	return l
}

// newIdleLink makes the device, but no driver comes.
func newIdleLink(t testing.TB, o Options, size uint64) *link {
	t.Helper()
	region, err := shmem.NewMemfd("driver", (int64(2*ringSize*(size+headerLen))&^4095)+1<<20)
	assert.NilError(t, err)
	l := &link{t: t, mem: vringtest.NewMemory(region, 0x4000_0000), event: make(chan struct{}, 1), size: size + headerLen}
	if o.CID == 0 {
		o.CID = guest
	}
	l.vsock, err = New(o)
	assert.NilError(t, err)
	l.dev, err = virtio.NewDevice("vsock", l.vsock, l, virtio.Options{Log: slog.New(slog.DiscardHandler)})
	assert.NilError(t, err)
	for range l.dev.Info().Queues {
		l.rings = append(l.rings, l.mem.NewRing(l.mem.Modern(ringSize)))
	}
	for q := range l.bufs {
		for i := range l.bufs[q] {
			l.bufs[q][i] = l.mem.Alloc(l.size, 1)
		}
	}
	l.tell.window = 1 << 20
	t.Cleanup(func() {
		l.stop()
		region.Close()
	})
	return l
}

func (l *link) start(features ...virtio.Feature) {
	l.t.Helper()
	l.heads = make([]int, len(l.rings))
	assert.Equal(l.t, l.dev.SetDriverFeatures(virtio.FeatureSet(features...)), virtio.Features{})
	for i, r := range l.rings {
		r.Reset(0)
		assert.NilError(l.t, l.dev.EnableQueue(l.mem.Space, vring.Config{Layout: r.Layout, Index: i}))
	}
	l.begin()
}

// begin says DRIVER_OK and returns when the device has noticed.
func (l *link) begin() {
	l.dev.Start()
	for {
		if _, err := l.vsock.current(); err == nil {
			return
		}
		runtime.Gosched()
	}
}

// resume is another monitor's start under a driver that lives on.
func (l *link) resume(features ...virtio.Feature) {
	l.t.Helper()
	assert.Equal(l.t, l.dev.SetDriverFeatures(virtio.FeatureSet(features...)), virtio.Features{})
	for i, r := range l.rings {
		assert.NilError(l.t, l.dev.EnableQueue(l.mem.Space, vring.Config{Layout: r.Layout, Index: i, Start: r.UsedIdx()}))
	}
	l.begin()
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

// offer makes a chain available on a queue, starting at the next entry.
func (l *link) offer(queue int, d ...vringtest.Desc) (head uint16) {
	head = uint16(l.heads[queue]) % ringSize
	l.rings[queue].Chain(head, d...)
	l.heads[queue] += len(d)
	l.rings[queue].Offer(head)
	l.dev.Kick()
	return head
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

// packet is a packet with its data.
type packet struct {
	header
	data string
}

// from is a packet of the driver's for a connection between its port and one of the host's.
func (l *link) from(op uint16, data string) packet {
	return packet{header{
		src: guest, dst: hostCID, srcPort: tap, dstPort: service, len: uint32(len(data)),
		kind: Stream, op: op, alloc: l.tell.window, forwarded: l.tell.forwarded,
	}, data}
}

// send has the device take a packet, and waits until it has.
func (l *link) send(p packet) {
	l.t.Helper()
	l.post(p)
	assert.Equal(l.t, l.used(queueTransmit).Len, uint32(0))
}

// post offers a packet.
func (l *link) post(p packet) {
	l.t.Helper()
	var b [headerLen]byte
	p.encode(&b)
	addr := l.bufs[1][l.heads[queueTransmit]%ringSize]
	raw := append(b[:], p.data...)
	assert.Assert(l.t, uint64(len(raw)) <= l.size, "test: the driver's buffers are too small")
	l.mem.Write(addr, raw)
	l.offer(queueTransmit, vringtest.Readable(addr, uint32(len(raw))))
}

// op sends a packet of the usual connection.
func (l *link) op(op uint16, flags uint32) {
	l.t.Helper()
	p := l.from(op, "")
	p.flags = flags
	l.send(p)
}

// recv offers a receive buffer and waits for the packet that comes in it.
func (l *link) recv() packet {
	l.t.Helper()
	return l.recvInto(l.size)
}

func (l *link) recvInto(n uint64) (p packet) {
	l.t.Helper()
	addr := l.bufs[0][l.heads[queueReceive]%ringSize]
	l.offer(queueReceive, vringtest.Writable(addr, uint32(n)))
	e := l.used(queueReceive)
	assert.Assert(l.t, e.Len >= headerLen, "packet of %d bytes", e.Len)
	raw := l.mem.Read(addr, uint64(e.Len))
	p.decode((*[headerLen]byte)(raw))
	p.data = string(raw[headerLen:])
	assert.Equal(l.t, int(p.len), len(p.data))
	l.tell.forwarded += p.len
	return p
}

// expect receives a packet of the usual connection.
func (l *link) expect(op uint16) packet {
	l.t.Helper()
	p := l.recv()
	assert.Equal(l.t, p.String(), opName(op))
	assert.Equal(l.t, p.src, uint64(hostCID))
	assert.Equal(l.t, p.dst, uint64(guest))
	return p
}

func (p packet) String() string { return opName(p.op) }

func opName(op uint16) string {
	names := []string{"invalid", "REQUEST", "RESPONSE", "RST", "SHUTDOWN", "RW", "CREDIT_UPDATE", "CREDIT_REQUEST"}
	if int(op) < len(names) {
		return names[op]
	}
	return fmt.Sprint(op)
}

// connect opens the usual connection from the driver's side.
func (l *link) connect() {
	l.t.Helper()
	l.op(opRequest, 0)
	l.expect(opResponse)
}

// accepted opens the usual connection and returns the host's end.
func (l *link) accepted() *Conn {
	l.t.Helper()
	ln, err := l.vsock.Listen(service)
	assert.NilError(l.t, err)
	defer ln.Close()
	l.connect()
	c, err := ln.Accept()
	assert.NilError(l.t, err)
	l.t.Cleanup(func() { c.Close() })
	return c.(*Conn)
}

// echo serves a port with what comes in.
func echo(c net.Conn) { io.Copy(c, c) }
