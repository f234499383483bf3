package vsock

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hypervisorless/virtio/virtio"
)

// Feature bits of the device type (5.10.3).
const (
	FeatureStream          virtio.Feature = 0 // stream connections
	FeatureSeqpacket       virtio.Feature = 1 // connections of messages
	FeatureNoImpliedStream virtio.Feature = 2 // streams are not to be had unless bit 0 says so
)

// The queues (5.10.2), from the driver's point of view.
const (
	queueReceive = iota
	queueTransmit
	queueEvent
)

// Options says where the device stands and what it may cost. The zero value of a limit is the
// default.
type Options struct {
	// CID is the driver's address (5.10.4): 3 or above, below 0xffffffff.
	CID uint64
	// Router is asked about each connection that the driver opens to a port nobody listens at;
	// nil refuses them all.
	Router Router

	// MaxConns is how many connections there can be, those included that an application has not
	// closed yet. Default 1024.
	MaxConns int
	// MaxOpening is how many of them can be half open, from either side. Default 128.
	MaxOpening int
	// Window is how many bytes of one connection wait here at most for the application. The
	// driver learns of it as buf_alloc. A connection begins with less and grows as it makes use
	// of it. A power of two, default 256 KiB.
	Window int
	// Memory bounds the windows of all connections together, in bytes: at least 8 KiB for each of
	// MaxConns. Default 64 MiB or what MaxConns demands.
	Memory int
	// ConnectTimeout ends the opening of a connection, from either side. Default 2 s, which is
	// what Linux waits.
	ConnectTimeout time.Duration
	// Linger is how long a driver that was told that a connection is closed has to agree, until it
	// is reset. Default 8 s.
	Linger time.Duration
}

// Device is a socket device (5.10). All methods are safe for concurrent use, Serve excepted.
type Device struct {
	opts  Options
	stock stock
	count counters

	mu        sync.Mutex
	cid       uint64
	life      *life // the session that runs
	listeners map[address]*Listener
}

var _ virtio.Backend = (*Device)(nil)

// New makes a socket device.
func New(o Options) (*Device, error) {
	if err := checkCID(o.CID); err != nil {
		return nil, err
	}
	for _, d := range []struct {
		n   *int
		def int
	}{{&o.MaxConns, 1024}, {&o.MaxOpening, 128}, {&o.Window, 256 << 10}} {
		if *d.n == 0 {
			*d.n = d.def
		}
	}
	least := 4 * minBuffer * o.MaxConns
	if o.Memory == 0 {
		o.Memory = max(64<<20, least)
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = 2 * time.Second
	}
	if o.Linger == 0 {
		o.Linger = 8 * time.Second
	}
	switch {
	case o.MaxConns < 1, o.MaxOpening < 1:
		return nil, fmt.Errorf("vsock: limits of %d connections, %d half open", o.MaxConns, o.MaxOpening)
	case o.Window < 2*minBuffer, o.Window > 1<<30, floorPower(o.Window) != o.Window:
		return nil, fmt.Errorf("vsock: window of %d bytes is not a power of two from %d to %d", o.Window, 2*minBuffer, 1<<30)
	case o.Memory < least:
		return nil, fmt.Errorf("vsock: %d bytes of memory are too few for %d connections, which take %d", o.Memory, o.MaxConns, least)
	case o.ConnectTimeout < 0, o.Linger < 0:
		return nil, errors.New("vsock: negative time-out")
	}
	return &Device{opts: o, stock: stock{limits: o}, cid: o.CID, listeners: make(map[address]*Listener)}, nil
}

// checkCID refuses the addresses that are reserved (5.10.4).
func checkCID(cid uint64) error {
	if cid <= hostCID || cid >= 0xffff_ffff {
		return fmt.Errorf("vsock: CID %#x is not the address of a driver: it has to be 3 or above, and below 0xffffffff", cid)
	}
	return nil
}

// Info implements virtio.Backend: queues to receive, to transmit and for events (5.10.2).
func (d *Device) Info() virtio.Info {
	return virtio.Info{
		ID:        virtio.IDSocket,
		Features:  virtio.FeatureSet(FeatureStream, FeatureSeqpacket, FeatureNoImpliedStream),
		Queues:    make([]uint16, 3),
		ConfigLen: 8,
		InOrder:   true,
	}
}

// ReadConfig implements virtio.Backend: the driver's CID (5.10.4).
func (d *Device) ReadConfig(p []byte, off int) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], d.CID())
	copy(p, b[off:])
}

// CID is the driver's address.
func (d *Device) CID() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cid
}

// SetCID gives the driver another address. All connections end, and the driver is told to look
// at its address again (5.10.6.7).
func (d *Device) SetCID(cid uint64) error {
	if err := checkCID(cid); err != nil {
		return err
	}
	d.mu.Lock()
	d.cid = cid
	l := d.life
	d.mu.Unlock()
	if l != nil {
		l.move(cid)
	}
	return nil
}

// Serve implements virtio.Backend. What an application has of connections of an earlier session
// is over; listeners and the Router stay.
func (d *Device) Serve(ctx context.Context, s *virtio.Session) error {
	l := d.begin(s)
	defer d.end(l)
	return together(ctx, l.receive, l.transmit, l.events)
}

// begin makes the session the one that connections belong to.
func (d *Device) begin(s *virtio.Session) *life {
	f := s.Features()
	l := &life{
		d: d, session: s, log: s.Log(),
		stream:    f.Has(FeatureStream) || !f.Has(FeatureNoImpliedStream),
		seqpacket: f.Has(FeatureSeqpacket),
		conns:     make(map[address]*Conn),
		news:      make(chan struct{}, 1),
		room:      make(chan struct{}, 1),
		moved:     make(chan struct{}, 1),
		// Ports that a driver may still remember from a monitor that was killed are not used again
		// soon.
		port: firstPort | rand.Uint32(),
	}
	// A driver that knows the device from before still has connections: those of a monitor that
	// was killed, or of a link that was cut. It has to forget them.
	if s.Resumed() {
		poke(l.moved)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	l.cid = d.cid
	d.life = l
	return l
}

func (d *Device) end(l *life) {
	d.mu.Lock()
	d.life = nil
	d.mu.Unlock()
	l.end(errReset)
}

// current is the session that runs.
func (d *Device) current() (*life, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life == nil {
		return nil, ErrNoDriver
	}
	return d.life, nil
}

// log is the session's logger; without one nobody has to be told.
func (d *Device) log() *slog.Logger {
	if l, err := d.current(); err == nil {
		return l.log
	}
	return slog.New(slog.DiscardHandler)
}

// Stats is a snapshot of a device.
type Stats struct {
	Conns    int    // connections, those included that an application has not closed yet
	Opening  int    // of these, half open
	Opened   uint64 // connections that came about, from either side
	Refused  uint64 // that the driver asked for and did not get
	Resets   uint64 // packets that were answered with RST because they made no sense
	Dropped  uint64 // packets that were not answered: malformed, or with a forged address
	Violated uint64 // connections reset because the driver broke the rules of them
}

type counters struct {
	opened, refused, resets, dropped, violated atomic.Uint64
}

// Stats is a snapshot of the counters, which begin with the Device.
func (d *Device) Stats() Stats {
	conns, opening := d.stock.count()
	c := &d.count
	return Stats{conns, opening, c.opened.Load(), c.refused.Load(), c.resets.Load(), c.dropped.Load(), c.violated.Load()}
}

// poke leaves a token.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
