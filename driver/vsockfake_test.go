package driver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// Operations, not taken from what is tested.
const (
	opRequest = iota + 1
	opResponse
	opReset
	opShutdown
	opData
	opUpdate
	opAsk
)

// packet is one as it goes through the ring.
type packet struct {
	src, dst          uint64
	srcPort, dstPort  uint32
	len               uint32
	kind, op          uint16
	flags             uint32
	window, forwarded uint32
	data              string
}

func (p packet) bytes() []byte {
	var b bytes.Buffer
	for _, v := range []any{p.src, p.dst, p.srcPort, p.dstPort, p.len, p.kind, p.op, p.flags, p.window, p.forwarded} {
		_ = binary.Write(&b, binary.LittleEndian, v)
	}
	return append(b.Bytes(), p.data...)
}

func parsePacket(b []byte) (p packet) {
	r := bytes.NewReader(b)
	for _, v := range []any{&p.src, &p.dst, &p.srcPort, &p.dstPort, &p.len, &p.kind, &p.op, &p.flags, &p.window, &p.forwarded} {
		_ = binary.Read(r, binary.LittleEndian, v)
	}
	p.data = string(b[len(b)-r.Len():])
	return p
}

// puppet is a socket device that does what the test says, and nothing else.
type puppet struct {
	t     *testing.T
	begun chan *virtio.Session
	pull  chan struct{} // a token for each packet that is taken from the driver; closed: all
	sent  chan []byte   // by the driver

	session *virtio.Session
	front   *driver.Vsock
}

func (*puppet) Info() virtio.Info {
	return virtio.Info{ID: virtio.IDSocket, Features: virtio.FeatureSet(0, 1, 2), Queues: make([]uint16, 3), ConfigLen: 8}
}

func (*puppet) ReadConfig(p []byte, off int) { copy(p, []byte{vsockCID, 0, 0, 0, 0, 0, 0, 0}[off:]) }

func (d *puppet) Serve(ctx context.Context, s *virtio.Session) error {
	d.begun <- s
	return s.Queue(1).Handle(ctx, func(c *vring.Chain) error {
		select {
		case <-d.pull:
		case <-ctx.Done():
			return ctx.Err()
		}
		b, err := io.ReadAll(c)
		d.sent <- b
		return err
	})
}

// newPuppet has a front-end of the device, all of whose packets are taken unless held.
func newPuppet(t *testing.T, hold bool) *puppet {
	region, err := shmem.NewMemfd("window", winSize)
	assert.NilError(t, err)
	t.Cleanup(func() { region.Close() })
	d := &puppet{t: t, begun: make(chan *virtio.Session, 1), pull: make(chan struct{}), sent: make(chan []byte, 5000)}
	if !hold {
		close(d.pull)
	}
	host, guest := notify.NewPair()
	serve(t, mmio.Options{Region: region, Line: host, Layout: mmio.Modern}, device{"vsock", d, 0})
	w := open(t, driver.Options{Region: region, Line: guest})
	found, err := w.Find(bounded(t), virtio.IDSocket, 0)
	assert.NilError(t, err)
	d.front, err = driver.StartVsock(bounded(t), found)
	assert.NilError(t, err)
	t.Cleanup(func() { d.front.Close() })
	assert.Assert(t, !found.Negotiated().Has(1), "there are no messages here")
	d.session = recv(t, d.begun)
	return d
}

// from is a packet of the host's port 7 to the driver's port 9.
func from(op uint16, data string) packet {
	return packet{src: 2, dst: vsockCID, srcPort: 7, dstPort: 9, len: uint32(len(data)), kind: 1, op: op, window: 1 << 16, data: data}
}

// say puts raw bytes into the driver's next buffer of a queue.
func (d *puppet) say(queue int, raw []byte) {
	d.t.Helper()
	assert.NilError(d.t, d.trySay(bounded(d.t), queue, raw))
}

func (d *puppet) trySay(ctx context.Context, queue int, raw []byte) error {
	q := d.session.Queue(queue)
	var c vring.Chain
	if err := q.Next(ctx, &c); err != nil {
		return err
	}
	_, err := c.Write(raw)
	q.Done(&c)
	return errors.Join(err, q.Flush())
}

func (d *puppet) packet(p packet) {
	d.t.Helper()
	d.say(0, p.bytes())
}

// hear is the driver's next packet.
func (d *puppet) hear(op uint16) packet {
	d.t.Helper()
	p := parsePacket(recv(d.t, d.sent))
	assert.Equal(d.t, p.op, op, "%+v", p)
	assert.Assert(d.t, p.src == vsockCID && p.dst == 2 && p.len == uint32(len(p.data)), "%+v", p)
	if op != opReset || p.window != 0 {
		assert.Equal(d.t, p.window, uint32(256<<10))
	}
	return p
}

// quiet sees that the driver has sent nothing that was not heard: what it is asked next is answered
// next.
func (d *puppet) quiet() {
	d.t.Helper()
	stray := from(opAsk, "")
	stray.srcPort = 4711
	d.packet(stray)
	assert.Equal(d.t, d.hear(opReset).dstPort, uint32(4711))
}

// accepted opens a connection from the host's side.
func (d *puppet) accepted() net.Conn {
	d.t.Helper()
	l, err := d.front.Listen(9)
	assert.NilError(d.t, err)
	d.packet(from(opRequest, ""))
	d.hear(opResponse)
	c, err := l.Accept()
	assert.NilError(d.t, err)
	d.t.Cleanup(func() { c.Close() })
	return timed(c)
}

// What belongs to no connection is answered with RST, once, and what is not addressed like this
// device's at all is not.
func TestVsock_Strangers(t *testing.T) {
	d := newPuppet(t, false)
	for op := range uint16(10) {
		if op == opReset {
			continue
		}
		p := from(op, "data")
		d.packet(p)
		got := d.hear(opReset)
		assert.Assert(t, got.srcPort == 9 && got.dstPort == 7 && got.kind == 1, "%+v", got)
		p.kind = 0x7777
		d.packet(p)
		assert.Equal(t, d.hear(opReset).kind, uint16(0x7777)) // TestVSK_07 of the other side
	}
	for _, spoil := range []func(*packet){
		func(p *packet) { p.op = opReset },
		func(p *packet) { p.op, p.kind = opReset, 9 },
		func(p *packet) { p.src = 3 },
		func(p *packet) { p.dst = 2 },
		func(p *packet) { p.dst |= 1 << 32 },
	} {
		p := from(opRequest, "")
		spoil(&p)
		d.packet(p)
		d.quiet()
	}
	for _, n := range []int{0, 1, 43} {
		d.say(0, from(opRequest, "").bytes()[:n])
		d.quiet()
	}
}

// A device that breaks the rules of a connection loses it and gains no byte; the others go on.
func TestVsock_Lies(t *testing.T) {
	for name, lie := range map[string][]packet{
		"length":          {{op: opData, len: 5, data: "four"}},
		"huge length":     {{op: opData, len: 1<<32 - 1, data: "four"}},
		"never sent":      {{op: opUpdate, forwarded: 1}},
		"second request":  {{op: opRequest}},
		"second response": {{op: opResponse}},
		"no operation":    {{op: 0}},
		"unknown":         {{op: 8}},
		"after the end":   {{op: opShutdown, flags: 2}, {op: opData, len: 1, data: "x"}},
		"beyond the window": func() (all []packet) {
			for range 65 {
				all = append(all, packet{op: opData, len: 4096, data: strings.Repeat("x", 4096)})
			}
			return all
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			d := newPuppet(t, false)
			c := d.accepted()
			other := from(opRequest, "")
			other.srcPort = 8
			d.packet(other)
			d.hear(opResponse)
			for _, l := range lie {
				p := from(l.op, l.data)
				p.len, p.flags, p.forwarded = l.len, l.flags, l.forwarded
				d.packet(p)
			}
			d.hear(opReset)
			other.op = opAsk
			d.packet(other)
			assert.Equal(t, d.hear(opUpdate).dstPort, uint32(8))
			if name == "after the end" {
				return // which is all that there is to read
			}
			_, err := io.ReadAll(c)
			assert.Check(t, is.ErrorIs(err, syscall.ECONNRESET))
			_, err = c.Write([]byte("x"))
			assert.Check(t, is.ErrorIs(err, syscall.ECONNRESET))
		})
	}
}

// More data than the header says are not of the connection.
func TestVsock_LongBuffer(t *testing.T) {
	d := newPuppet(t, false)
	c := d.accepted()
	p := from(opData, "four and more")
	p.len = 4
	d.packet(p)
	d.packet(from(opData, "five"))
	got := make([]byte, 8)
	_, err := io.ReadFull(c, got)
	assert.NilError(t, err)
	assert.Equal(t, string(got), "fourfive")
}

// No byte goes out that the host has no room for, whatever the counters have come to.
func TestVsock_Credit(t *testing.T) {
	d := newPuppet(t, false)
	l, err := d.front.Listen(9)
	assert.NilError(t, err)
	p := from(opRequest, "")
	p.window = 10
	d.packet(p)
	d.hear(opResponse)
	c, err := l.Accept()
	assert.NilError(t, err)
	defer c.Close()
	written := make(chan error, 1)
	go func() { _, err := c.Write(make([]byte, 25)); written <- err }()
	assert.Equal(t, len(d.hear(opData).data), 10)
	d.quiet()
	grant := func(window, forwarded uint32) {
		p := from(opUpdate, "")
		p.window, p.forwarded = window, forwarded
		d.packet(p)
	}
	grant(3, 5) // smaller than what is under way is full
	d.quiet()
	grant(10, 5)
	assert.Equal(t, len(d.hear(opData).data), 5)
	d.quiet()
	grant(1<<32-1, 15)
	assert.Equal(t, len(d.hear(opData).data), 10)
	assert.NilError(t, recv(t, written))
}

// The host hears how much was read before it has to wait, and whenever it asks.
func TestVsock_Forwarded(t *testing.T) {
	d := newPuppet(t, false)
	c := d.accepted()
	total, heard := uint32(0), uint32(0)
	for range 1000 {
		d.packet(from(opData, strings.Repeat("x", 1000)))
		total += 1000
		_, err := io.ReadFull(c, make([]byte, 1000))
		assert.NilError(t, err)
		if total-heard >= 64<<10 {
			p := d.hear(opUpdate)
			assert.Assert(t, p.forwarded > heard && p.forwarded <= total, "%d", p.forwarded)
			heard = p.forwarded
		}
	}
	d.packet(from(opAsk, ""))
	assert.Equal(t, d.hear(opUpdate).forwarded, total)
}

// A connection that is asked for is there when the host says so, is refused, or called off.
func TestVsock_Dial(t *testing.T) {
	d := newPuppet(t, false)
	answer := func(op uint16) error {
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(bounded(t))
		defer cancel()
		go func() {
			c, err := d.front.Dial(ctx, 7)
			if err == nil {
				err = c.Close()
			}
			ended <- err
		}()
		p := d.hear(opRequest)
		if op == 0 {
			cancel()
		} else {
			a := from(op, "")
			a.dstPort = p.srcPort
			d.packet(a)
		}
		return recv(t, ended)
	}
	assert.NilError(t, answer(opResponse))
	assert.Equal(t, d.hear(opShutdown).flags, uint32(3))
	assert.Check(t, is.ErrorIs(answer(opReset), syscall.ECONNREFUSED))
	assert.Check(t, is.ErrorIs(answer(0), context.Canceled))
	d.hear(opReset)
	assert.Check(t, is.ErrorIs(answer(opData), syscall.ECONNRESET)) // before RESPONSE
	d.hear(opReset)
	d.quiet()
}

// How connections end: what was sent before is there, and each side agrees with an RST.
func TestVsock_Ends(t *testing.T) {
	d := newPuppet(t, false)
	c := d.accepted()
	d.packet(from(opData, "the last words"))
	end := from(opShutdown, "")
	end.flags = 1 // no more to be received
	d.packet(end)
	d.quiet()
	_, err := c.Write([]byte("x"))
	assert.Check(t, is.ErrorIs(err, syscall.EPIPE))
	end.flags = 2 // and none to be sent: the hints add up
	d.packet(end)
	d.hear(opReset)
	got, err := io.ReadAll(c)
	assert.NilError(t, err)
	assert.Equal(t, string(got), "the last words")

	d.packet(from(opRequest, ""))
	d.hear(opResponse)
	d.packet(from(opData, "lost"))
	d.packet(from(opReset, ""))
	d.quiet()
}

// A device that takes nothing is not asked to, and what it wants to be answered waits in a
// bounded place; later it is all answered.
func TestVsock_Flood(t *testing.T) {
	d := newPuppet(t, true)
	const flood = 3000
	said := make(chan int, flood)
	go func() {
		for i := range flood {
			p := from(opData, "")
			p.srcPort = uint32(i)
			if d.trySay(bounded(t), 0, p.bytes()) != nil {
				return
			}
			said <- i
		}
	}()
	taken := 0 // by the front-end
	for ; taken < 1024; taken++ {
		recv(t, said)
	}
	for answered := range flood {
		select {
		case d.pull <- struct{}{}:
		case <-bounded(t).Done():
			t.Fatal("hangs")
		}
		assert.Equal(t, d.hear(opReset).dstPort, uint32(answered))
		for len(said) > 0 {
			<-said
			taken++
		}
		assert.Assert(t, taken-answered <= 1024+64, "%d packets wait for an answer", taken-answered)
	}
}

// Ports are taken once, and those nobody accepts from do not grow.
func TestVsock_Listen(t *testing.T) {
	d := newPuppet(t, false)
	l, err := d.front.Listen(9)
	assert.NilError(t, err)
	_, err = d.front.Listen(9)
	assert.Check(t, is.ErrorIs(err, syscall.EADDRINUSE))
	refused := 0
	for i := range 200 {
		p := from(opRequest, "")
		p.srcPort = uint32(i)
		d.packet(p)
		if got := parsePacket(recv(t, d.sent)); got.op == opReset {
			refused++
		}
	}
	assert.Equal(t, refused, 200-128)
	assert.NilError(t, l.Close())
	for range 128 {
		d.hear(opReset)
	}
	assert.NilError(t, d.front.Close())
	_, err = d.front.Listen(9)
	assert.Check(t, is.ErrorIs(err, driver.ErrClosed))
	_, err = d.front.Dial(bounded(t), 9)
	assert.Check(t, is.ErrorIs(err, driver.ErrClosed))
}

// TRANSPORT_RESET ends all connections and no listener, as often as it comes.
func TestVsock_TransportReset(t *testing.T) {
	d := newPuppet(t, false)
	l, err := d.front.Listen(9)
	assert.NilError(t, err)
	for i := range 3 {
		var all []net.Conn
		for port := range uint32(10) {
			p := from(opRequest, "")
			p.srcPort = port
			d.packet(p)
			d.hear(opResponse)
			c, err := l.Accept()
			assert.NilError(t, err)
			all = append(all, timed(c))
		}
		d.say(2, make([]byte, 4))
		var waiting sync.WaitGroup
		for _, c := range all {
			waiting.Go(func() {
				_, err := c.Read(make([]byte, 1))
				assert.Check(t, is.ErrorIs(err, syscall.ECONNRESET), fmt.Sprint(i))
			})
		}
		waiting.Wait()
		d.quiet()
	}
}
