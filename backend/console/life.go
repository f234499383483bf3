package console

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// life is what one incarnation of the driver knows of the device.
type life struct {
	d         *Device
	session   *virtio.Session
	multiport bool // negotiated
	ports     []portState
	news      chan struct{} // token: there is something to say
	ctrl      vring.Chain   // of the control receive queue
	heard     vring.Chain   // of the control transmit queue
	head      [controlHeader]byte
	text      []byte // of the message under way

	announced bool // DEVICE_READY was seen; guarded by d.mu
}

// portState is what the driver knows of a port. All but open is guarded by Device.mu.
type portState struct {
	open  atomic.Bool // the driver takes input
	added bool        // it was told that the port exists
	ready bool        // it said that it knows the port
	todo  event       // what it is to be told, as bits
	flips int         // how often its idea of "attached" is to change: 0 to 2
	told  bool        // its idea of "attached"
	vague bool        // what it knows it was told by a predecessor of ours
}

// begin makes the session the one that is told of changes. A driver that knows the ports from
// before is told of them again: it says that it is ready once more, and nothing else happens.
func (d *Device) begin(s *virtio.Session) *life {
	l := &life{
		d: d, session: s, multiport: s.Features().Has(FeatureMultiport),
		ports: make([]portState, len(d.ports)), news: make(chan struct{}, 1),
	}
	d.mu.Lock()
	d.life = l
	// The driver may have read it before it changed; and without control messages Linux reads the
	// size of a window only when it is told that it changed.
	news := s.Features().Has(FeatureSize) && (d.stale || !l.multiport)
	d.stale = false
	for i, p := range d.ports {
		l.ports[i].open.Store(!l.multiport || s.Resumed())
		l.mourn(p)
		if l.multiport && s.Resumed() {
			l.announced, l.ports[i].added, l.ports[i].vague, l.ports[i].todo = true, true, true, tellAdd
			poke(l.news)
		}
	}
	d.mu.Unlock()
	if news {
		s.ConfigChanged()
	}
	return l
}

func (d *Device) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life = nil
}

// workers are the goroutines that the driver's queues ask for.
func (l *life) workers() (w []func(context.Context) error) {
	ports := l.d.ports
	if l.multiport {
		w = append(w,
			func(ctx context.Context) error { return l.tell(ctx, l.session.Queue(queueControlReceive)) },
			func(ctx context.Context) error { return l.listen(ctx, l.session.Queue(queueControlTransmit)) })
	} else {
		ports = ports[:1]
	}
	for i, p := range ports {
		rx, tx := p.queues()
		w = append(w,
			func(ctx context.Context) error { return p.input(ctx, l.session.Queue(rx), &l.ports[i]) },
			func(ctx context.Context) error { return p.output(ctx, l.session.Queue(tx), l.session.Log()) })
	}
	return w
}

// mourn logs the end of a port's input. Callers hold d.mu.
func (l *life) mourn(p *port) {
	if p.ended != nil && !errors.Is(p.ended, io.EOF) {
		l.session.Log().Warn("no more input from the host", "port", p, "err", p.ended)
	}
}
