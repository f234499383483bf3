package virtio

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hypervisorless/virtio/vring"
)

// Transport is what a Device asks of the transport that carries it. The methods are called
// from any goroutine and must not block. NotifyConfig may come from within ReadConfig or
// WriteConfig: it must not call these.
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
	// session still stands. It must be quick and safe for concurrent use, and may fault. Once
	// it said no, that access did not happen and its queue waits for the session's end: the
	// transport has to End it at the next look, even if Standing says yes by then.
	Standing func() bool
	// Spin is how long a queue is watched for more after it ran empty, before the device
	// sleeps; 0 is not at all.
	Spin time.Duration
	Log  *slog.Logger // nil: slog.Default
}

// Device is one device as its transport sees it: the state machine of sections 2.1, 2.2, 2.4
// and 3.1 around a Backend, without registers or messages. One goroutine of the transport
// makes the control calls; Kick, ReadConfig and all that only report are safe from any.
type Device struct {
	name      string
	backend   Backend
	info      Info
	offered   Features
	transport Transport
	opts      Options
	log       *slog.Logger
	said      said
	faults    atomic.Uint64
	panics    atomic.Uint64

	configMu   sync.Mutex // one ReadConfig or WriteConfig at a time
	generation atomic.Uint32

	mu        sync.Mutex
	status    Status
	driver    Features // what the driver asked for
	links     []*link  // the queues enabled for the session to come
	session   *Session // it runs, or was told to end and has not let go yet
	resetting bool     // 0 was written to the status, the session has not let go yet
	broken    error
	sessions  uint64
	held      []*vring.Gate // by TryHold
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
	if info.ConfigLen < 0 {
		return nil, fmt.Errorf("%s: configuration space of %d bytes", name, info.ConfigLen)
	}
	if err := checkOffer(info, o.Offer); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Device{
		name: name, backend: b, info: info, transport: t, opts: o,
		offered: info.Features.With(o.Offer),
		log:     o.Log.With("device", name),
		links:   make([]*link, len(info.Queues)),
	}, nil
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

// Kick wakes every queue whose available index has moved: an available-buffer notification
// for all of them (2.3). Spurious and merged kicks are welcome. It reports whether it woke any.
func (d *Device) Kick() (woke bool) {
	d.mu.Lock()
	s := d.session
	d.mu.Unlock()
	if s == nil {
		return false
	}
	for _, q := range s.queues {
		if q.look() {
			woke = true
		}
	}
	return woke
}
