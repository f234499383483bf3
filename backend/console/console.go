package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hypervisorless/virtio/virtio"
)

// Feature bits of the device type (5.3.3).
const (
	FeatureSize           virtio.Feature = 0 // the configuration space says how large port 0's window is
	FeatureMultiport      virtio.Feature = 1 // more ports than one, and control queues
	FeatureEmergencyWrite virtio.Feature = 2 // a byte can be written through the configuration space
)

// Options says how the device behaves towards the driver.
type Options struct {
	// Ports are the device's ports, in order; at least one. MULTIPORT is offered when there are
	// two, or the first has a name.
	Ports []Port
	// Emergency, if not nil, offers EMERG_WRITE and receives each byte a driver writes that way
	// (5.3.4), at any time, one Write at a time. It must not block: the transport waits.
	Emergency io.Writer
	// RowsFirst sends the size of a window in control messages as Linux read it before 6.15 (and
	// before the long-term releases of 2025): rows, then columns. The specification, and Linux
	// since, have the columns first.
	RowsFirst bool
}

// Device is a console device (5.3). All methods are safe for concurrent use, Serve excepted.
type Device struct {
	opts   Options
	ports  []*port
	pumps  sync.Once
	closed chan struct{}
	close  sync.Once

	mu    sync.Mutex
	life  *life // the session that runs
	stale bool  // the configuration space changed while none ran
}

var (
	_ virtio.Backend      = (*Device)(nil)
	_ virtio.ConfigWriter = (*Device)(nil)
)

// New makes a console device. From here on the Endpoints are the Device's.
func New(o Options) (*Device, error) {
	if len(o.Ports) == 0 {
		return nil, errors.New("console: no port")
	}
	names := make(map[string]bool)
	for i, p := range o.Ports {
		switch {
		case p.Endpoint == nil:
			return nil, fmt.Errorf("console: port %d has no endpoint", i)
		case len(p.Name) > maxName || strings.ContainsRune(p.Name, 0):
			return nil, fmt.Errorf("console: port %d: name %q is longer than %d bytes or has a NUL in it", i, p.Name, maxName)
		case p.Name != "" && names[p.Name]:
			return nil, fmt.Errorf("console: port %d: name %q is taken", i, p.Name)
		}
		names[p.Name] = true
	}
	d := &Device{opts: o, closed: make(chan struct{})}
	for i, p := range o.Ports {
		d.ports = append(d.ports, &port{Port: p, index: i, in: newFIFO(), attached: true})
	}
	d.ports[0].window = window{80, 24} // a driver that asks gets an answer
	for i, p := range d.ports {
		if a, ok := p.Endpoint.(Attacher); ok {
			p.attached = false
			a.OnAttach(func(on bool) { d.attach(p, on) })
		}
		if s, ok := p.Endpoint.(Sizer); ok {
			s.OnResize(func(cols, rows uint16) { d.Resize(i, cols, rows) })
		}
	}
	if slices.ContainsFunc(d.ports, func(p *port) bool { return wayOut(p.Endpoint) }) {
		d.pumps.Do(d.startPumps)
	}
	return d, nil
}

// wayOut reports whether the only way out of the program may be a key of the endpoint, which
// then has to be read before there is a driver: a terminal in raw mode sends no signals.
func wayOut(e Endpoint) bool {
	s, ok := e.(*stdio)
	return ok && s.terminal != nil && s.opts.OnEscape != nil
}

// multiport reports whether FeatureMultiport is offered.
func (d *Device) multiport() bool { return len(d.ports) > 1 || d.ports[0].Name != "" }

// Info implements virtio.Backend: two queues, or with MULTIPORT two for each port and two for
// control messages (5.3.2).
func (d *Device) Info() virtio.Info {
	info := virtio.Info{
		ID:        virtio.IDConsole,
		Features:  virtio.FeatureSet(FeatureSize),
		Queues:    make([]uint16, 2),
		ConfigLen: configLen,
		InOrder:   true,
	}
	if d.multiport() {
		info.Features = info.Features.With(virtio.FeatureSet(FeatureMultiport))
		info.Queues = make([]uint16, 2+2*len(d.ports))
	}
	if d.opts.Emergency != nil {
		info.Features = info.Features.With(virtio.FeatureSet(FeatureEmergencyWrite))
	}
	return info
}

// Serve implements virtio.Backend. The host is first read when the first driver is there, unless
// it is a terminal with an escape key.
func (d *Device) Serve(ctx context.Context, s *virtio.Session) error {
	d.pumps.Do(d.startPumps)
	for _, p := range d.ports {
		p.Endpoint.SetWriteDeadline(time.Time{})
	}
	l := d.begin(s)
	defer d.end()
	return together(ctx, l.workers(), func() {
		for _, p := range d.ports {
			p.Endpoint.SetWriteDeadline(time.Unix(1, 0))
		}
	})
}

func (d *Device) startPumps() {
	for _, p := range d.ports {
		go func() { d.inputEnded(p, p.pump(d.closed)) }()
	}
}

// inputEnded says in the session's log that no more input will come, and why.
func (d *Device) inputEnded(p *port, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p.ended = err
	if d.life != nil {
		d.life.mourn(p)
	}
}

// Resize tells the driver the size of a port's window, in characters: in the configuration
// space for port 0, and in control messages if it speaks MULTIPORT (5.3.5). The endpoints that
// are terminals call it themselves. It panics if there is no such port.
func (d *Device) Resize(port int, cols, rows uint16) {
	if s := d.resize(d.ports[port], window{cols, rows}); s != nil {
		s.ConfigChanged()
	}
}

// resize returns the session that is to be told that the configuration space changed.
func (d *Device) resize(p *port, w window) *virtio.Session {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.window == w {
		return nil
	}
	p.window = w
	if d.life == nil {
		d.stale = d.stale || p.index == 0
		return nil
	}
	d.life.resized(p)
	if p.index > 0 || !d.life.session.Features().Has(FeatureSize) {
		return nil
	}
	return d.life.session
}

// attach notes that somebody came to, or left, the host's end of a port.
func (d *Device) attach(p *port, on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.attached == on {
		return
	}
	p.attached = on
	if d.life != nil {
		d.life.flipped(p)
	}
}

// Stats is a snapshot of the ports.
func (d *Device) Stats() []PortStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	stats := make([]PortStats, len(d.ports))
	for i, p := range d.ports {
		stats[i] = PortStats{Name: p.Name, Attached: p.attached, Waiting: p.in.len(), Dropped: p.dropped.Load()}
	}
	return stats
}

// Close closes the Endpoints. Stop the transport first.
func (d *Device) Close() error {
	var errs []error
	d.close.Do(func() {
		close(d.closed)
		for _, p := range d.ports {
			if err := p.Endpoint.Close(); err != nil {
				errs = append(errs, fmt.Errorf("console: port %v: %w", p, err))
			}
		}
	})
	return errors.Join(errs...)
}
