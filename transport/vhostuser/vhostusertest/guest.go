package vhostusertest

import (
	"errors"
	"fmt"

	"github.com/hypervisorless/virtio/virtio"
)

// Options says what a Guest is like.
type Options struct {
	Regions []Region // memory; none means one region of 4 MiB
	Sizes   []uint16 // of the queues
	Notify  Notify   // how kicks and calls travel

	EventIdx bool // ask for EVENT_IDX
	Indirect bool // ask for INDIRECT_DESC, and use it for every chain
	Acked    bool // ask for REPLY_ACK, and for the acknowledgement of every message
	Inflight bool // ask for INFLIGHT_SHMFD
	Status   bool // ask for STATUS, and go through the steps of 3.1.1

	Features virtio.Features // of the device type, to ask for
}

// Guest is a virtual machine as small as can be: memory, the driver's side of some queues, and
// the front-end that connects them to one back-end after the other. What it asks for and is not
// offered is an error. One goroutine at a time may call its methods; each of its Queues may have
// a goroutine of its own.
type Guest struct {
	Memory *Memory
	Queues []*Queue

	// Of the connection that Negotiate or Attach began last.
	FrontEnd *FrontEnd
	Channel  *Channel // nil without BACKEND_REQ
	Features virtio.Features
	Protocol Protocol

	// Hear, if not nil, is called for each request of the back-end before it is answered, from a
	// goroutine of its own. Set it before Negotiate.
	Hear func(r Request, queue int)

	// Inflight is what the back-end gave us to keep; nil without INFLIGHT_SHMFD.
	Inflight *Inflight

	opts   Options
	closed bool
	served chan error // what Channel.Serve returned
}

// NewGuest makes memory and rings; nothing is connected yet.
func NewGuest(o Options) (*Guest, error) {
	if len(o.Regions) == 0 {
		o.Regions = []Region{{Guest: 0x1_2340_0000, User: 0x7f00_0010_0000, Size: 4 << 20, Offset: 0x3000}}
	}
	m, err := NewMemory(o.Regions...)
	if err != nil {
		return nil, err
	}
	g := &Guest{Memory: m, opts: o}
	for i, size := range o.Sizes {
		q, err := newQueue(g, i, NewRing(m, size, o.EventIdx, o.Indirect), o.Notify)
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		g.Queues = append(g.Queues, q)
	}
	return g, nil
}

// Close disconnects and frees everything. Closing again does nothing.
func (g *Guest) Close() error {
	if g.closed {
		return nil
	}
	g.closed = true
	err := g.Detach()
	for _, q := range g.Queues {
		err = errors.Join(err, q.close())
	}
	return errors.Join(err, g.Inflight.Close(), g.Memory.Close())
}

// Dial is Attach to the back-end that listens on a socket.
func (g *Guest) Dial(path string) error {
	fe, err := Dial(path)
	if err != nil {
		return err
	}
	return g.Attach(fe)
}

// Attach brings the device up, or up again: the rings are left as they are. Chains that were
// offered and not given back are the new back-end's to serve.
func (g *Guest) Attach(fe *FrontEnd) error {
	if err := g.Negotiate(fe); err != nil {
		return err
	}
	if err := g.Share(); err != nil {
		return err
	}
	for _, q := range g.Queues {
		if err := q.Place(); err != nil {
			return err
		}
	}
	for _, q := range g.Queues {
		if err := q.Enable(); err != nil {
			return err
		}
	}
	return g.Ready()
}

// Detach ends the connection, as the death of the front-end would; the memory stays. The error
// is what was wrong with the back-end's requests.
func (g *Guest) Detach() error {
	if g.FrontEnd == nil {
		return nil
	}
	g.FrontEnd.Close() // the other end may be long gone
	g.FrontEnd = nil
	if g.Channel == nil {
		return nil
	}
	g.Channel.Close()
	g.Channel = nil
	return <-g.served
}

// Reset is a reboot of the guest between two connections: rings as new, nothing in flight, and
// no record of it.
func (g *Guest) Reset() error {
	for _, q := range g.Queues {
		q.Reset()
	}
	err := g.Inflight.Close()
	g.Inflight = nil
	return err
}

// wanted are the features to ask for.
func (g *Guest) wanted() (virtio.Features, Protocol) {
	f := g.opts.Features.With(virtio.FeatureSet(virtio.Version1, FeatureProtocol))
	if g.opts.EventIdx {
		f = f.With(virtio.FeatureSet(virtio.EventIdx))
	}
	if g.opts.Indirect {
		f = f.With(virtio.FeatureSet(virtio.IndirectDesc))
	}
	var p Protocol
	if g.opts.Acked {
		p |= ReplyAck
	}
	if g.opts.Inflight {
		p |= InflightShmFD
	}
	if g.opts.Status {
		p |= StatusProtocol
	}
	if g.opts.Notify == InBand {
		p |= InBandNotify | BackendReq | ReplyAck
	}
	return f, p
}

// Negotiate takes the connection and goes as far as features are agreed on. MQ, CONFIG,
// BACKEND_REQ, RESET_DEVICE and CONFIGURE_MEM_SLOTS are taken when they are there.
func (g *Guest) Negotiate(fe *FrontEnd) error {
	if err := g.Detach(); err != nil {
		return err
	}
	g.FrontEnd = fe
	if err := fe.SetOwner(); err != nil {
		return err
	}
	features, protocol := g.wanted()
	offered, err := fe.GetFeatures()
	if err != nil {
		return err
	}
	if missing := features.Without(offered); missing != (virtio.Features{}) {
		return fmt.Errorf("features %v are not offered", missing)
	}
	can, err := fe.GetProtocolFeatures()
	if err != nil {
		return err
	}
	if missing := protocol &^ can; missing != 0 {
		return fmt.Errorf("protocol features %#x are not offered", uint64(missing))
	}
	g.Features, g.Protocol = features, protocol|can&(MQ|Config|BackendReq|DeviceReset|MemSlots)
	if err := fe.SetProtocolFeatures(g.Protocol); err != nil {
		return err
	}
	fe.Acked = g.opts.Acked || g.opts.Notify == InBand
	if err := g.openChannel(); err != nil {
		return err
	}
	if err := g.countQueues(); err != nil {
		return err
	}
	return g.Accept()
}

// Accept is how the driver agrees to the features, from the beginning (3.1.1): the part of
// Negotiate that is done again after a reset of the device.
func (g *Guest) Accept() error {
	if err := g.status(virtio.Acknowledge, virtio.Acknowledge|virtio.Driver); err != nil {
		return err
	}
	if err := g.FrontEnd.SetFeatures(g.Features); err != nil {
		return err
	}
	return g.status(virtio.Acknowledge | virtio.Driver | virtio.FeaturesOK)
}

func (g *Guest) openChannel() error {
	if g.Protocol&BackendReq == 0 {
		return nil
	}
	c, theirs, err := NewChannel()
	if err != nil {
		return err
	}
	defer theirs.Close()
	c.On = g.heard
	g.Channel, g.served = c, make(chan error, 1)
	go func(served chan<- error) { served <- c.Serve() }(g.served)
	return g.FrontEnd.SetBackendReqFD(theirs)
}

// heard takes a request of the back-end.
func (g *Guest) heard(r Request, queue int) error {
	if g.Hear != nil {
		g.Hear(r, queue)
	}
	if r == BackendConfigChange {
		return nil
	}
	if queue >= len(g.Queues) {
		return fmt.Errorf("request %d for queue %d", r, queue)
	}
	if r == BackendVringCall {
		g.Queues[queue].poke()
	}
	return nil
}

func (g *Guest) countQueues() error {
	if g.Protocol&MQ == 0 {
		return nil
	}
	n, err := g.FrontEnd.GetQueueNum()
	if err == nil && n < uint64(len(g.Queues)) {
		err = fmt.Errorf("%d queues, want %d", n, len(g.Queues))
	}
	return err
}

// status goes through these values, and sees them.
func (g *Guest) status(values ...virtio.Status) error {
	if !g.opts.Status {
		return nil
	}
	for _, s := range values {
		if err := g.FrontEnd.SetStatus(s); err != nil {
			return err
		}
		got, err := g.FrontEnd.GetStatus()
		if err != nil {
			return err
		}
		if got != s {
			return fmt.Errorf("status is %#x after %#x was written", got, s)
		}
	}
	return nil
}

// Share tells the back-end of the memory, and of what was in flight or where to note it.
func (g *Guest) Share() error {
	if err := g.FrontEnd.SetMemTable(g.Memory.Regions...); err != nil {
		return err
	}
	if !g.opts.Inflight {
		return nil
	}
	if g.Inflight == nil {
		var size uint16
		for _, q := range g.Queues {
			size = max(size, q.Size)
		}
		var err error
		if g.Inflight, err = g.FrontEnd.GetInflightFD(uint16(len(g.Queues)), size); err != nil {
			return err
		}
	}
	return g.FrontEnd.SetInflightFD(g.Inflight)
}

// Ready says that the driver is, where there is a status to say it with, and rings every bell:
// what rang when nobody was connected is lost.
func (g *Guest) Ready() error {
	if err := g.status(virtio.Acknowledge | virtio.Driver | virtio.FeaturesOK | virtio.DriverOK); err != nil {
		return err
	}
	for _, q := range g.Queues {
		if err := q.ForceKick(); err != nil {
			return err
		}
		q.poke()
	}
	return nil
}
