package driver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hypervisorless/virtio/virtio"
)

// Vsock is a socket device (5.10): stream connections with the host, opened by either side. All
// methods are safe for concurrent use.
//
// When the monitor has been replaced and forgot the connections, they end and listeners stay:
// dial anew. A device of hvl-v2 that needs a reset for that gets one.
type Vsock struct {
	d       *Device
	run     context.Context // until Close
	stop    context.CancelFunc
	working sync.WaitGroup // of our own goroutines

	in, out, notes []Buffer // memory of the three queues

	starting sync.Mutex // again

	mu        sync.Mutex
	life      *vsockLife    // nil while the device is brought up
	live      chan struct{} // closed when it is, or never will be
	err       error         // for good
	cid       uint64
	conns     map[vsockPair]*VsockConn
	listeners map[uint32]*VsockListener
	port      uint32 // of the last Dial
}

// vsockPair tells connections apart: the port here and the host's.
type vsockPair struct{ local, remote uint32 }

// vsockLife is one bring-up of the device.
//
// Locks: a connection's before the Vsock's before this.
type vsockLife struct {
	v            *Vsock
	rx, tx, note *Queue
	copies       sync.WaitGroup // of data into packets, under way

	mu      sync.Mutex
	free    []*vsockPacket
	pending []vsockNote             // to be sent before anything else, once a packet is free
	held    []*Request              // of rx: not offered while too much is pending
	writers map[*VsockConn]struct{} // wait for a free packet
}

// vsockPacket is one of those to be sent.
type vsockPacket struct {
	Request
	memory Buffer // a part of which is the request's
}

// vsockNote is a packet without data. Its credit is filled in when it is sent.
type vsockNote struct {
	c *VsockConn // nil: of no connection
	h vsockHeader
}

const (
	vsockPackets    = 16        // each way
	vsockMaxPacket  = 64 << 10  // bytes of data in one
	vsockMinPacket  = 256       // the same where memory is scarce
	vsockPending    = 1024      // answers to the host that may wait, before it is not heard any more
	vsockFirstPort  = 49152     // of those for Dial
	vsockNobodyPort = 1<<32 - 1 // VMADDR_PORT_ANY
)

// StartVsock brings up a socket device. It serves the doorbell, for everybody, until Close.
func StartVsock(ctx context.Context, d *Device) (*Vsock, error) {
	v := &Vsock{
		d: d, live: make(chan struct{}), port: vsockFirstPort + rand.Uint32N(1<<30),
		conns: make(map[vsockPair]*VsockConn), listeners: make(map[uint32]*VsockListener),
	}
	v.run, v.stop = context.WithCancel(context.Background())
	if err := v.start(ctx); err != nil {
		v.stop()
		return nil, err
	}
	v.working.Go(func() { _ = d.w.Run(v.run) }) // when the doorbell is lost all requests fail
	return v, nil
}

// start brings the device up and offers it its buffers.
func (v *Vsock) start(ctx context.Context) error {
	err := v.d.Start(ctx, Config{
		Sizes:    []uint16{0, 0, 0},
		Features: virtio.FeatureSet(vsockStream, vsockNoImpliedStream),
		Lost:     v.lost,
	})
	if err != nil {
		return err
	}
	cid, err := v.readCID()
	if err != nil {
		return err
	}
	if v.in == nil {
		if err := v.takeMemory(); err != nil {
			return err
		}
	}
	l := &vsockLife{
		v: v, rx: v.d.Queue(0), tx: v.d.Queue(1), note: v.d.Queue(2), writers: make(map[*VsockConn]struct{}),
	}
	for _, b := range v.out {
		p := &vsockPacket{memory: b}
		p.Done = func(*Request) { l.sent(p) }
		l.free = append(l.free, p)
	}
	if err := v.begin(l, cid); err != nil {
		return err
	}
	for _, b := range v.notes {
		if _, err := l.note.Submit(&Request{InBuffer: b, Done: l.noted}); err != nil {
			return err
		}
	}
	for _, b := range v.in {
		if _, err := l.rx.Submit(&Request{InBuffer: b, Done: l.received}); err != nil {
			return err
		}
	}
	return nil
}

// begin lets connections come about.
func (v *Vsock) begin(l *vsockLife, cid uint64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return v.err
	}
	v.life, v.cid = l, cid
	close(v.live)
	return nil
}

func (v *Vsock) readCID() (uint64, error) {
	var b [8]byte
	err := v.d.ReadConfig(b[:], 0)
	return binary.LittleEndian.Uint64(b[:]), err
}

// takeMemory takes a part of the window: the packets stay the same from life to life.
func (v *Vsock) takeMemory() error {
	budget := int(v.d.pool.n * unit / 2) // rings take the most of the rest where memory is a few pages
	if v.d.pool == v.d.w.shared() {
		budget /= 2
	}
	packet := min(budget/(2*vsockPackets)&^(unit-1), vsockMaxPacket+vsockHeaderLen)
	packet = max(packet, vsockMinPacket+vsockHeaderLen)
	for _, part := range []struct {
		buffers *[]Buffer
		n, size int
	}{
		{&v.in, min(vsockPackets, v.d.Queue(0).Size()), packet},
		{&v.out, min(vsockPackets, v.d.Queue(1).Size()), packet},
		{&v.notes, 1, 4},
	} {
		for range part.n {
			b, err := v.d.Alloc(part.size)
			if err != nil {
				return err
			}
			*part.buffers = append(*part.buffers, b)
		}
	}
	return nil
}

// lost is called when the device asks for a reset.
func (v *Vsock) lost(error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err == nil {
		v.working.Go(v.restart)
	}
}

// restart gives the device the reset it asked for, as often as it takes: the monitor may be on
// its way still.
func (v *Vsock) restart() {
	v.starting.Lock()
	defer v.starting.Unlock()
	for v.leave() && v.start(v.run) != nil {
		if err := v.d.w.failed(); err != nil {
			v.fail(err)
		}
		select {
		case <-v.run.Done():
		case <-time.After(lookAgain):
		}
	}
}

// leave ends what was of the last life; false when there will be no other.
func (v *Vsock) leave() bool {
	v.mu.Lock()
	if v.err != nil {
		v.mu.Unlock()
		return false
	}
	last := v.life
	if last != nil {
		v.life, v.live = nil, make(chan struct{})
	}
	v.mu.Unlock()
	v.forget()
	if last != nil {
		last.copies.Wait()
	}
	return true
}

// forget ends all connections, of which the host knows nothing any more.
func (v *Vsock) forget() {
	v.mu.Lock()
	var all []*VsockConn
	for _, c := range v.conns {
		all = append(all, c)
	}
	v.mu.Unlock()
	for _, c := range all {
		c.mu.Lock()
		c.end(errVsockReset)
		c.mu.Unlock()
	}
}

// fail is the end.
func (v *Vsock) fail(err error) {
	v.mu.Lock()
	if v.err != nil {
		v.mu.Unlock()
		return
	}
	v.err = err
	if v.life == nil {
		close(v.live)
	}
	listeners := v.listeners
	v.listeners = nil
	var all []*VsockConn
	for _, c := range v.conns {
		all = append(all, c)
	}
	v.mu.Unlock()
	for _, l := range listeners {
		l.end(err)
	}
	for _, c := range all {
		c.mu.Lock()
		c.end(err)
		c.mu.Unlock()
	}
}

// Close ends all connections and listeners, and returns when nothing of this touches the window
// any more but what the device was given. It stays live: the host finds out when it speaks.
func (v *Vsock) Close() error {
	v.fail(ErrClosed)
	v.stop()
	v.working.Wait()
	v.mu.Lock()
	l := v.life
	v.mu.Unlock()
	if l != nil {
		l.copies.Wait()
	}
	return nil
}

// CID is this side's address.
func (v *Vsock) CID() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cid
}

// failed is called with what a request failed of, under whatever lock. A device that needs a reset
// says so by itself.
func (l *vsockLife) failed(err error) {
	if !errors.Is(err, ErrNeedsReset) && !errors.Is(err, ErrReset) {
		go l.v.fail(err)
	}
}

// noted takes an event: there is only the one (5.10.6.7).
func (l *vsockLife) noted(r *Request) {
	if r.Err != nil {
		l.failed(r.Err)
		return
	}
	if cid, err := l.v.readCID(); err == nil {
		l.v.mu.Lock()
		l.v.cid = cid
		l.v.mu.Unlock()
	}
	l.v.forget()
	if _, err := l.note.Submit(r); err != nil {
		l.failed(err)
	}
}

// received takes a packet.
func (l *vsockLife) received(r *Request) {
	if r.Err != nil {
		l.failed(r.Err)
		return
	}
	if r.N >= vsockHeaderLen {
		err := l.v.d.w.guarded(func() error {
			var b [vsockHeaderLen]byte
			r.InBuffer.ReadAt(b[:], 0)
			var h vsockHeader
			h.decode(&b)
			l.v.route(l, h, r.InBuffer.Slice(vsockHeaderLen, r.N-vsockHeaderLen))
			return nil
		})
		if err != nil {
			l.failed(err)
			return
		}
	}
	l.mu.Lock()
	if len(l.pending) >= vsockPending {
		l.held = append(l.held, r)
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	if _, err := l.rx.Submit(r); err != nil {
		l.failed(err)
	}
}

// route hands a packet to whom it is for, or answers that there is nobody. What claims to be from
// or for somebody else is dropped.
func (v *Vsock) route(l *vsockLife, h vsockHeader, data Buffer) {
	v.mu.Lock()
	mine := h.src == vsockHost && h.dst == v.cid
	c := v.conns[vsockPair{h.dstPort, h.srcPort}]
	listener := v.listeners[h.dstPort]
	v.mu.Unlock()
	switch {
	case !mine:
	case c != nil && h.kind == vsockStreamType:
		c.receive(&h, data)
	case h.op == vsockReset:
	case h.op == vsockRequest && h.kind == vsockStreamType && listener != nil && listener.incoming(l, &h):
	default:
		l.post(nil, vsockHeader{src: h.dst, srcPort: h.dstPort, dstPort: h.srcPort, kind: h.kind, op: vsockReset})
	}
}

// post sends a packet without data, as soon as it can be.
func (l *vsockLife) post(c *VsockConn, h vsockHeader) {
	h.dst = vsockHost
	l.mu.Lock()
	l.pending = append(l.pending, vsockNote{c, h})
	err := l.flush()
	l.mu.Unlock()
	if err != nil {
		l.failed(err)
	}
}

// flush sends what is pending as far as there are free packets. The lock is held.
func (l *vsockLife) flush() error {
	n := min(len(l.pending), len(l.free))
	for _, p := range l.pending[:n] {
		if err := l.send(l.take(), p.c, p.h); err != nil {
			return err
		}
	}
	l.pending = l.pending[:copy(l.pending, l.pending[n:])]
	return nil
}

func (l *vsockLife) take() *vsockPacket {
	p := l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	return p
}

// send makes a packet available whose data is in place. The lock is held: what one packet says
// of the credit is never older than what the one before did.
func (l *vsockLife) send(p *vsockPacket, c *VsockConn, h vsockHeader) error {
	if c != nil {
		h.window, h.forwarded = vsockWindow, c.forwarded.Load()
		c.told.Store(h.forwarded)
	}
	var b [vsockHeaderLen]byte
	h.encode(&b)
	err := l.v.d.w.guarded(func() error {
		p.memory.WriteAt(b[:], 0)
		return nil
	})
	if err != nil {
		return err
	}
	p.OutBuffer = p.memory.Slice(0, vsockHeaderLen+int(h.len))
	_, err = l.tx.Submit(&p.Request)
	return err
}

// sent takes back a packet that the device is done with.
func (l *vsockLife) sent(p *vsockPacket) {
	if p.Err != nil {
		l.failed(p.Err)
		return
	}
	l.giveBack(p)
}

// giveBack frees a packet for whoever is next.
func (l *vsockLife) giveBack(p *vsockPacket) {
	if err := l.tryGiveBack(p); err != nil {
		l.failed(err)
	}
}

func (l *vsockLife) tryGiveBack(p *vsockPacket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, p)
	if err := l.flush(); err != nil {
		return err
	}
	if len(l.held) > 0 && len(l.pending) < vsockPending {
		if _, err := l.rx.Submit(l.held...); err != nil {
			return err
		}
		l.held = l.held[:0]
	}
	if len(l.free) > 0 {
		for c := range l.writers {
			poke(c.writable)
		}
		clear(l.writers)
	}
	return nil
}

// packet is a free packet for data, or nil: then the connection is told when to try again.
// Nothing overtakes what is pending.
func (l *vsockLife) packet(c *VsockConn) *vsockPacket {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == 0 && len(l.free) > 0 {
		l.copies.Add(1)
		return l.take()
	}
	l.writers[c] = struct{}{}
	return nil
}

// dispatch sends a packet with data.
func (l *vsockLife) dispatch(p *vsockPacket, c *VsockConn, h vsockHeader, data []byte) error {
	defer l.copies.Done()
	err := l.v.d.w.guarded(func() error {
		p.memory.WriteAt(data, vsockHeaderLen)
		return nil
	})
	if err != nil {
		return err
	}
	h.len = uint32(len(data))
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.send(p, c, h)
}

// poke leaves a token.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// named says where an error is from.
func (v *Vsock) named(what string, err error) error {
	return fmt.Errorf("driver: %v: %s: %w", v.d, what, err)
}
