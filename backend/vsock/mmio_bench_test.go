package vsock

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// frontEnd is a driver with one connection behind transport/mmio, doorbells and all.
type frontEnd struct {
	t    testing.TB
	tx   *driver.Queue
	rx   *driver.Queue
	free chan *driver.Request // of the transmit queue

	mu     sync.Mutex
	cond   sync.Cond
	credit credit
	open   bool
	taken  uint64 // bytes received
	update *driver.Request
	busy   bool // update is on its way
}

const frontEndDepth = 8

// newFrontEnd brings up a device and a connection whose packets hold n bytes.
func newFrontEnd(t testing.TB, n int) (*frontEnd, *Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	const size = 8 << 20
	region, err := shmem.NewMemfd("bench", size)
	assert.NilError(t, err)
	t.Cleanup(func() {
		cancel()
		running.Wait()
		region.Close()
	})
	host, guestLine := notify.NewPair()
	d, err := New(Options{CID: guest})
	assert.NilError(t, err)
	ready := make(chan struct{})
	bus, err := mmio.NewBus(mmio.Options{
		Region: region, Addr: 0x4000_0000, Line: host, Layout: mmio.Modern,
		Log: slog.New(slog.DiscardHandler), Ready: func() { close(ready) },
	})
	assert.NilError(t, err)
	assert.NilError(t, bus.Add("vsock", d, 0))
	running.Go(func() { bus.Run(ctx) })
	<-ready
	w, err := driver.Open(driver.Options{Region: region, Addr: 0x4000_0000, Line: guestLine})
	assert.NilError(t, err)
	running.Go(func() { w.Run(ctx) })
	dev, err := w.Find(ctx, virtio.IDSocket, 0)
	assert.NilError(t, err)
	assert.NilError(t, dev.Start(ctx, driver.Config{Sizes: []uint16{64, 64, 4}, Features: virtio.FeatureSet(FeatureStream, virtio.Version1)}))
	ln, err := d.Listen(service)
	assert.NilError(t, err)
	defer ln.Close()

	f := &frontEnd{t: t, tx: dev.Queue(queueTransmit), free: make(chan *driver.Request, frontEndDepth)}
	f.cond.L = &f.mu
	f.credit.window = 1 << 18
	for range frontEndDepth {
		f.free <- &driver.Request{Out: make([]byte, headerLen+n), Done: func(r *driver.Request) { f.free <- r }}
		r := &driver.Request{In: make([]byte, headerLen+n), Done: f.received}
		_, err := dev.Queue(queueReceive).Submit(r)
		assert.NilError(t, err)
	}
	f.update = &driver.Request{Out: make([]byte, headerLen), Done: func(*driver.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.busy = false
		f.announce()
	}}
	f.rx = dev.Queue(queueReceive)
	f.send(opRequest, 0)
	f.wait(func() bool { return f.open })
	c, err := ln.Accept()
	assert.NilError(t, err)
	t.Cleanup(func() { c.Close() })
	return f, c.(*Conn)
}

// wait waits for something that a packet brings.
func (f *frontEnd) wait(cond func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !cond() {
		f.cond.Wait()
	}
}

// received takes a packet.
func (f *frontEnd) received(r *driver.Request) {
	if r.Err != nil || r.N < headerLen {
		return
	}
	var h header
	h.decode((*[headerLen]byte)(r.In))
	f.mu.Lock()
	f.credit.heard(&h)
	f.open = f.open || h.op == opResponse
	f.taken += uint64(h.len)
	f.credit.forwarded += h.len
	f.announce()
	f.cond.Broadcast()
	f.mu.Unlock()
	f.rx.Submit(r)
}

// announce says how much was consumed, if it has to be said and is not being said. Callers hold
// mu.
func (f *frontEnd) announce() {
	if f.credit.stale() && !f.busy {
		f.busy = true
		f.encode(f.update, opCreditUpdate, 0)
		f.tx.Submit(f.update)
	}
}

func (f *frontEnd) encode(r *driver.Request, op uint16, n int) {
	h := header{src: guest, dst: hostCID, srcPort: tap, dstPort: service, len: uint32(n), kind: Stream, op: op}
	f.credit.tell(&h)
	h.encode((*[headerLen]byte)(r.Out))
}

// send sends a packet once there is a free buffer.
func (f *frontEnd) send(op uint16, n int) {
	r := <-f.free
	f.mu.Lock()
	defer f.mu.Unlock()
	f.credit.sent += uint32(n)
	f.encode(r, op, n)
	r.Out = r.Out[:headerLen+n]
	f.tx.Submit(r)
}

// BenchmarkVsockTransport is one stream through transport/mmio, doorbells and a driver, beside a
// pipe.
func BenchmarkVsockTransport(b *testing.B) {
	const n = benchPacket
	b.Run("pipe", func(b *testing.B) { benchPipe(b, n) })
	b.Run("up", func(b *testing.B) {
		f, c := newFrontEnd(b, n)
		go func() {
			buf := make([]byte, n)
			for {
				if _, err := c.Read(buf); err != nil {
					return
				}
			}
		}()
		round := func() {
			f.wait(func() bool { return f.credit.free() >= n })
			f.send(opData, n)
		}
		b.SetBytes(n)
		b.ReportAllocs()
		for range 1 << 22 / n { // the window grows
			k := min(n, int(f.credit.window)/16)
			f.wait(func() bool { return int(f.credit.free()) >= k })
			f.send(opData, k)
		}
		for b.Loop() {
			round()
		}
	})
	b.Run("down", func(b *testing.B) {
		f, c := newFrontEnd(b, n)
		go func() {
			buf := make([]byte, n)
			for {
				if _, err := c.Write(buf); err != nil {
					return
				}
			}
		}()
		b.SetBytes(n)
		b.ReportAllocs()
		for b.Loop() {
			f.wait(func() bool { return f.taken >= n })
			f.mu.Lock()
			f.taken -= n
			f.mu.Unlock()
		}
	})
	b.Run("request", func(b *testing.B) {
		f, c := newFrontEnd(b, 64)
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
		for want := uint64(64); b.Loop(); want += 64 {
			f.send(opData, 64)
			f.wait(func() bool { return f.taken >= want })
		}
	})
}
