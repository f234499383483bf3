package virtio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// Transport is what a Device asks of the transport that carries it. The methods are called
// from any goroutine and must not block.
type Transport interface {
	// NotifyUsed sends a used-buffer notification for a queue (2.3).
	NotifyUsed(queue int)
	// NotifyConfig sends a configuration-change notification (2.3): the configuration space,
	// or DEVICE_NEEDS_RESET in the status, changed.
	NotifyConfig()
	// Wake makes the transport look at the device again: a session that was ended may have
	// let go of the driver's memory, or a Standing said no.
	Wake()
}

// Options says how a transport runs a Device.
type Options struct {
	// Offer holds the ring and transport features; the device adds its own.
	Offer Features
	// Standing, if not nil, is asked before every access to the driver's memory whether the
	// session still stands. It must be quick and safe for concurrent use, and may fault.
	Standing func() bool
	// Spin is how long a queue is watched for more after it ran empty, before the device
	// sleeps; 0 is at once.
	Spin time.Duration
	Log  *slog.Logger // nil: slog.Default
}

// Device is one device as its transport sees it: the state machine of sections 2.1, 2.2, 2.4
// and 3.1 around a Backend, without registers or messages. One goroutine of the transport
// makes the control calls; Stats, Status and Kick are safe from any.
type Device struct {
	name      string
	backend   Backend
	info      Info
	offered   Features
	transport Transport
	opts      Options
	log       *slog.Logger

	configMu   sync.Mutex // one ReadConfig or WriteConfig at a time
	generation atomic.Uint32

	mu        sync.Mutex
	status    Status
	driver    Features // what the driver asked for
	queues    []*Queue // enabled for the session to come, or of the one that runs
	held      []*Queue // kept out of memory by TryHold
	session   *Session
	ending    bool // session was told to end
	resetting bool // 0 was written to the status, the session has not let go yet
	broken    error
	sessions  uint64
}

// NewDevice checks what the backend says of itself and makes the device, not yet seen by any
// driver.
func NewDevice(name string, b Backend, t Transport, o Options) (*Device, error) {
	info := b.Info()
	if len(info.Queues) == 0 {
		return nil, fmt.Errorf("%s: a device needs at least one queue", name)
	}
	for i, n := range info.Queues {
		if n != 0 && !vring.ValidSize(uint32(n)) {
			return nil, fmt.Errorf("%s: queue %d: maximum size %d is not a power of two up to %d", name, i, n, vring.MaxSize)
		}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	d := &Device{
		name: name, backend: b, info: info, transport: t, opts: o,
		offered: info.Features.With(o.Offer),
		log:     o.Log.With("device", name),
		queues:  make([]*Queue, len(info.Queues)),
	}
	if err := checkOffer(info.Features, o.Offer); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

// Name is the name given at NewDevice.
func (d *Device) Name() string { return d.name }

// Info is what the backend says of itself.
func (d *Device) Info() Info { return d.info }

// Offered is the set of features offered to the driver (2.2).
func (d *Device) Offered() Features { return d.offered }

// MaxSize is the largest size of a queue; 0 when there is no such queue.
func (d *Device) MaxSize(queue int) uint16 {
	if queue < 0 || queue >= len(d.info.Queues) {
		return 0
	}
	if n := d.info.Queues[queue]; n != 0 {
		return n
	}
	return DefaultQueueSize
}

// EnableQueue latches the geometry of a queue (3.1.1, 4.2.2.2): changes the driver makes later
// are not seen. Index, features and gate of c are the device's to set. An error leaves the
// queue disabled.
func (d *Device) EnableQueue(space *shmem.Space, c vring.Config) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	limit := d.MaxSize(c.Index)
	switch {
	case limit == 0:
		return fmt.Errorf("%s: no queue %d", d.name, c.Index)
	case d.session != nil:
		return fmt.Errorf("%s: queue %d cannot be enabled while the device is live", d.name, c.Index)
	case c.Size > limit:
		return fmt.Errorf("%s: queue %d: size %d is more than the maximum of %d", d.name, c.Index, c.Size, limit)
	}
	features := d.negotiated()
	c.EventIdx = features.Has(EventIdx)
	c.Indirect = features.Has(IndirectDesc)
	c.Gate = vring.NewGate(d.opts.Standing, d.transport.Wake)
	ring, err := vring.New(space, c)
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	d.queues[c.Index] = &Queue{
		ring: ring, gate: c.Gate, index: c.Index, next: c.Start,
		kick: make(chan struct{}, 1), spin: d.opts.Spin,
	}
	return nil
}

// DisableQueue forgets a queue that is enabled but not live yet.
func (d *Device) DisableQueue(i int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session == nil && i >= 0 && i < len(d.queues) {
		d.queues[i] = nil
	}
}

// Enabled reports whether a queue is enabled.
func (d *Device) Enabled(i int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return i >= 0 && i < len(d.queues) && d.queues[i] != nil
}

// Start begins the session: DRIVER_OK was seen. From here on the device uses its queues.
// It does nothing when the device is live, ending or broken.
func (d *Device) Start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.start()
}

func (d *Device) start() {
	if d.session != nil || d.broken != nil {
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &Session{
		dev: d, ctx: ctx, cancel: cancel,
		features: d.negotiated(), queues: d.queues, log: d.log,
	}
	for _, q := range s.queues {
		if q != nil {
			q.session = s
		}
	}
	d.session, d.ending = s, false
	d.sessions++
	go s.run()
}

// Live reports whether a session runs and has not been told to end.
func (d *Device) Live() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session != nil && !d.ending
}

// ErrEnded is the cause of a session's end when the driver reset the device.
var ErrEnded = errors.New("the driver reset the device or restarted")

// End tells the session to end and disables all queues, without waiting: no new access to the
// driver's memory begins. It reports whether everything has let go already; if not, Wake is
// called until Quiet says so. Features and a broken state are forgotten.
func (d *Device) End() (quiet bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken, d.status, d.driver = nil, 0, Features{}
	return d.end(ErrEnded)
}

// stuckAfter is how long a backend may take to return from Serve before the log says so.
const stuckAfter = 5 * time.Second

func (d *Device) end(cause error) bool {
	for _, q := range d.queues {
		if q != nil {
			q.gate.Shut()
		}
	}
	if d.session == nil {
		d.queues = make([]*Queue, len(d.info.Queues))
		return true
	}
	if !d.ending {
		d.ending = true
		s := d.session
		s.cancel(cause)
		time.AfterFunc(stuckAfter, func() {
			if !s.returned.Load() {
				d.log.Warn("the backend has not returned from Serve; the driver waits for it")
			}
		})
	}
	return d.quiet()
}

// Quiet reports whether no session is left: either none ever began, or the last one was ended
// and nothing of it can touch the driver's memory any more.
func (d *Device) Quiet() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.quiet()
}

func (d *Device) quiet() bool {
	if d.session == nil {
		return true
	}
	if !d.ending || !d.session.quiet() {
		return false
	}
	d.session = nil
	d.queues = make([]*Queue, len(d.info.Queues))
	return true
}

// Kick wakes every queue whose available index has moved: an available-buffer notification
// for all of them (2.3). Spurious and merged kicks are welcome.
func (d *Device) Kick() {
	d.mu.Lock()
	s := d.session
	d.mu.Unlock()
	if s == nil {
		return
	}
	for _, q := range s.queues {
		if q != nil {
			q.look()
		}
	}
}

// fail ends a session that cannot go on: an unrecoverable error (2.1.2).
func (d *Device) fail(s *Session, err error) {
	d.mu.Lock()
	if d.session != s || d.ending {
		d.mu.Unlock()
		return
	}
	d.broken = err
	d.end(err)
	d.status |= NeedsReset
	live := d.status&DriverOK != 0
	d.mu.Unlock()
	d.log.Error("device stopped until the driver resets it", "err", err)
	if live {
		d.transport.NotifyConfig()
	}
}

// Broken is the error that stopped the device, or nil.
func (d *Device) Broken() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.broken
}

// DeviceStats is a snapshot of a device.
type DeviceStats struct {
	Name     string
	ID       DeviceID
	Status   Status
	Features Features // negotiated
	Live     bool
	Broken   string // why the device stopped, or ""
	Sessions uint64 // how many times the driver reached DRIVER_OK
	Queues   []QueueStats
}

// Stats is a snapshot of the device and the queues of its current session.
func (d *Device) Stats() DeviceStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := DeviceStats{
		Name: d.name, ID: d.info.ID, Status: d.status, Features: d.negotiated(),
		Live: d.session != nil && !d.ending, Sessions: d.sessions,
		Queues: make([]QueueStats, len(d.queues)),
	}
	if d.broken != nil {
		st.Broken = d.broken.Error()
	}
	for i, q := range d.queues {
		if q != nil {
			st.Queues[i] = q.Stats()
		}
	}
	return st
}

// TakesConfig reports whether the driver may write the configuration space.
func (d *Device) TakesConfig() bool {
	_, ok := d.backend.(ConfigWriter)
	return ok
}

// TryHold keeps the session out of the driver's memory until Release, unless an access is
// under way. Without a session it always succeeds.
func (d *Device) TryHold() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, q := range d.queues {
		if q != nil && !q.gate.TryHold() {
			release(d.queues[:i])
			return false
		}
	}
	d.held = d.queues
	return true
}

// Release ends a hold, also when the session was told to end meanwhile.
func (d *Device) Release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	release(d.held)
	d.held = nil
}

func release(queues []*Queue) {
	for _, q := range queues {
		if q != nil {
			q.gate.Release()
		}
	}
}

// Untouched reports whether no chain was ever taken from a queue; the device must be held.
func (d *Device) Untouched(i int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return i < 0 || i >= len(d.queues) || d.queues[i] == nil || d.queues[i].ring.Untouched()
}
