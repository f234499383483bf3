package vsock

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/vring/vringtest"
)

// peer is a quick driver with one connection: it keeps the receive ring full, sends as much as
// the credit allows and makes no garbage.
type peer struct {
	*link
	credit
	head   [headerLen]byte
	got    header
	data   []byte
	taken  uint64 // data received
	due    uint64 // of it, downloaded
	flying int    // packets that the device has not given back
}

// newRoutedPeer opens a connection on a link whose buffers hold size bytes of data.
func newRoutedPeer(t testing.TB, o Options, size uint64) *peer {
	l := newIdleLink(t, o, size)
	l.start(FeatureStream)
	return l.newPeer(size)
}

func (l *link) newPeer(size uint64) *peer {
	p := &peer{link: l, data: make([]byte, size)}
	p.window = 1 << 18
	for i := range ringSize {
		l.offer(queueReceive, vringtest.Writable(l.bufs[0][i], uint32(l.size)))
	}
	p.put(opRequest, 0)
	for p.got.op != opResponse {
		if !p.take() {
			p.wait()
		}
	}
	return p
}

// newPeer is the same with the host's end in the hands of the test.
func newPeer(t testing.TB, o Options, size uint64) (*peer, *Conn) {
	l := newIdleLink(t, o, size)
	l.start(FeatureStream)
	ln, err := l.vsock.Listen(service)
	assert.NilError(t, err)
	defer ln.Close()
	p := l.newPeer(size)
	c, err := ln.Accept()
	assert.NilError(t, err)
	t.Cleanup(func() { c.Close() })
	return p, c.(*Conn)
}

// put sends a packet with n bytes of data, once the ring has room.
func (p *peer) put(op uint16, n int) {
	for ; p.flying == ringSize; runtime.Gosched() {
		p.reap()
	}
	i := p.heads[queueTransmit] % ringSize
	h := header{src: guest, dst: hostCID, srcPort: tap, dstPort: service, len: uint32(n), kind: Stream, op: op}
	p.credit.tell(&h)
	h.encode(&p.head)
	addr := p.bufs[1][i]
	p.mem.Write(addr, p.head[:])
	if n > 0 {
		p.mem.Write(addr+headerLen, p.data[:n])
	}
	p.rings[queueTransmit].Put(uint16(i), vringtest.Readable(addr, uint32(headerLen+n)))
	p.rings[queueTransmit].SetAvail(p.rings[queueTransmit].AvailIdx(), uint16(i))
	p.rings[queueTransmit].SetAvailIdx(p.rings[queueTransmit].AvailIdx() + 1)
	p.heads[queueTransmit]++
	p.flying++
	p.sent += uint32(n)
	p.kick(queueTransmit)
}

func (p *peer) kick(queue int) {
	if p.rings[queue].NeedKick(false) {
		p.dev.Kick()
	}
}

// reap takes back the packets that the device is done with.
func (p *peer) reap() {
	for {
		if _, ok := p.rings[queueTransmit].Used(); !ok {
			return
		}
		p.flying--
	}
}

// room is what the credit allows to be sent.
func (p *peer) room() int { return int(p.free()) }

// take takes one packet if there is one, copies its data out and offers the buffer again.
func (p *peer) take() bool {
	r := p.rings[queueReceive]
	e, ok := r.Used()
	if !ok {
		return false
	}
	span := p.mem.Span(p.bufs[0][e.ID], uint64(e.Len))
	span.ReadAt(p.head[:], 0)
	p.got.decode(&p.head)
	p.peerWindow, p.peerForwarded = p.got.alloc, p.got.forwarded
	if p.got.op == opReset {
		p.t.Fatal("the connection was reset")
	}
	if n := uint64(p.got.len); n > 0 {
		span.ReadAt(p.data[:n], headerLen)
		p.forwarded += uint32(n)
		p.taken += n
	}
	r.SetAvail(r.AvailIdx(), uint16(e.ID))
	r.SetAvailIdx(r.AvailIdx() + 1)
	p.kick(queueReceive)
	if p.stale() {
		p.put(opCreditUpdate, 0)
	}
	return true
}

// wait waits for the device to do something.
func (p *peer) wait() { <-p.event }

// upload sends total bytes to the host in packets of at most n.
func (p *peer) upload(total, n int) {
	for total > 0 {
		for p.take() {
		}
		k := min(total, n, p.room())
		if k == 0 {
			p.reap()
			p.wait()
			continue
		}
		p.put(opData, k)
		total -= k
	}
}

// download receives total bytes more than what was downloaded before.
func (p *peer) download(total int) {
	p.due += uint64(total)
	for p.taken < p.due {
		if !p.take() {
			p.reap()
			p.wait()
		}
	}
}

// upHost reads what a peer uploads, and downHost writes what it downloads; both for ever.
func upHost(c net.Conn, n int, total *atomic.Int64) {
	b := make([]byte, n)
	for {
		k, err := c.Read(b)
		total.Add(int64(k))
		if err != nil {
			return
		}
	}
}

const benchPacket = 64 << 10

// BenchmarkVsockStream is one stream, each byte of it copied in by who sends it and out by who
// receives it, beside a pipe that does the same.
func BenchmarkVsockStream(b *testing.B) {
	for _, n := range []int{4 << 10, benchPacket} {
		b.Run(fmt.Sprintf("up/%d", n), func(b *testing.B) {
			p, c := newPeer(b, Options{}, uint64(n))
			var total atomic.Int64
			go upHost(c, n, &total)
			p.upload(4<<20, n) // the window has grown, the memory is there
			b.SetBytes(int64(n))
			b.ReportAllocs()
			b.ResetTimer()
			p.upload(n*b.N, n)
		})
		b.Run(fmt.Sprintf("down/%d", n), func(b *testing.B) {
			p, c := newPeer(b, Options{}, uint64(n))
			go func() {
				buf := make([]byte, n)
				for {
					if _, err := c.Write(buf); err != nil {
						return
					}
				}
			}()
			p.download(1 << 20)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			b.ResetTimer()
			p.download(n * b.N)
		})
		b.Run(fmt.Sprintf("pipe/%d", n), func(b *testing.B) { benchPipe(b, n) })
	}
}

// benchPipe is what streams are held against.
func benchPipe(b *testing.B, n int) {
	r, w, err := os.Pipe()
	assert.NilError(b, err)
	go func() {
		buf := make([]byte, n)
		for {
			if _, err := w.Write(buf); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, n)
	b.SetBytes(int64(n))
	b.ReportAllocs()
	for b.Loop() {
		io.ReadFull(r, buf)
	}
	r.Close()
	w.Close()
}

// BenchmarkVsockJoin is one stream to a unix socket of the host's.
func BenchmarkVsockJoin(b *testing.B) {
	path := b.TempDir() + "/host"
	ln, err := net.Listen("unix", path+"_80")
	assert.NilError(b, err)
	defer ln.Close()
	go func() {
		host, err := ln.Accept()
		if err != nil {
			return
		}
		defer host.Close()
		buf := make([]byte, benchPacket)
		for err == nil {
			_, err = host.Read(buf)
		}
	}()
	p := newRoutedPeer(b, Options{Router: UnixRouter(path)}, benchPacket)
	p.upload(4<<20, benchPacket)
	b.SetBytes(benchPacket)
	b.ReportAllocs()
	b.ResetTimer()
	p.upload(benchPacket*b.N, benchPacket)
}

// BenchmarkVsockRequest is a request and its answer, 64 bytes each.
func BenchmarkVsockRequest(b *testing.B) {
	p, c := newPeer(b, Options{}, 4096)
	go func() {
		var buf [64]byte
		for {
			if _, err := io.ReadFull(c, buf[:]); err != nil {
				return
			}
			c.Write(buf[:])
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		p.put(opData, 64)
		p.download(64)
	}
}

// BenchmarkConnectionsVsock is how long it takes to open and close one; it makes garbage.
func BenchmarkConnectionsVsock(b *testing.B) {
	route := RouterFunc(func(context.Context, Request) (func(*Conn), error) {
		return func(c *Conn) { io.Copy(io.Discard, c); c.Close() }, nil
	})
	l := newIdleLink(b, Options{Router: route}, 64)
	l.start(FeatureStream)
	b.ReportAllocs()
	for b.Loop() {
		l.connect()
		l.op(opShutdown, shutBoth)
		l.expect(opReset)
	}
}
