package virtiotest

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// Options says how a Rig is built. The zero value is the usual: a modern driver and Normal
// memory.
type Options struct {
	// Legacy brings the device up as a legacy transport does: contiguous rings, no VERSION_1,
	// no FEATURES_OK.
	Legacy bool
	// Strict, if not 0, is the width in bytes of the bus to memory that behaves like Device
	// memory; see shmem.NewStrict.
	Strict int
	// Offer holds the ring features offered; none means VERSION_1, INDIRECT_DESC and EVENT_IDX.
	Offer virtio.Features
	// QueueSize is what the driver makes of each queue, as far as the device allows; 0 means 16.
	QueueSize uint16
	// Buffers is how many bytes the driver has for buffers in each session; 0 means 16 KiB.
	Buffers uint64
	// Patience is how long the driver waits for anything before it calls the device stuck; 0
	// means 10 s.
	Patience time.Duration

	Spin     time.Duration // as in virtio.Options
	Standing func() bool   // as in virtio.Options
	Log      *slog.Logger  // nil: nowhere
}

// Rig is a device on the bench: a virtio.Device carried by a transport that is nothing but
// calls, and memory for a driver. Every session has memory of its own, so what a session that
// is over still touches can be seen. One goroutine at a time may use a Rig.
type Rig struct {
	Device *virtio.Device
	// Memory is the driver's, of the session that Up began last.
	Memory *vringtest.Memory

	opts    Options
	region  *shmem.Region
	space   *shmem.Space
	room    uint64 // of one session
	odd     uint64 // which of the two rooms is in use
	queues  []*Queue
	used    []atomic.Uint64
	config  atomic.Uint64
	changed chan struct{} // one token: look again
}

// memoryAddr is where the driver finds its memory.
const memoryAddr = 0x4000_0000

// NewRig puts a backend on the bench for the length of a test. The device has to be reset by
// its end.
func NewRig(t testing.TB, b virtio.Backend, o Options) *Rig {
	t.Helper()
	r, err := OpenRig(t.Name(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// OpenRig is NewRig where there is no test. Close the Rig when the device is reset.
func OpenRig(name string, b virtio.Backend, o Options) (*Rig, error) {
	o.setDefaults()
	r := &Rig{opts: o, changed: make(chan struct{}, 1)}
	dev, err := virtio.NewDevice(name, b, (*transport)(r), virtio.Options{
		Offer: o.Offer, Standing: o.Standing, Spin: o.Spin, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	r.Device = dev
	n := len(dev.Info().Queues)
	r.queues, r.used = make([]*Queue, n), make([]atomic.Uint64, n)
	const page = 4096
	r.room = o.Buffers
	for i := range n {
		r.room += vring.LegacyBytes(r.size(i), page) + page // the wasteful layout
	}
	r.room = (r.room + page - 1) &^ (page - 1)
	if o.Strict == 0 {
		r.region, err = shmem.NewMemfd("virtiotest", int64(2*r.room))
	} else {
		r.region, _ = shmem.NewStrict(int(2*r.room), o.Strict)
	}
	if err != nil {
		return nil, err
	}
	if r.space, err = shmem.NewSpace(shmem.Window{Addr: memoryAddr, Region: r.region}); err != nil {
		return nil, err
	}
	r.renew()
	return r, nil
}

// Close unmaps the memory.
func (r *Rig) Close() { r.region.Close() }

func (o *Options) setDefaults() {
	if o.Offer == (virtio.Features{}) {
		o.Offer = virtio.FeatureSet(virtio.Version1, virtio.IndirectDesc, virtio.EventIdx)
	}
	if o.QueueSize == 0 {
		o.QueueSize = 16
	}
	if o.Buffers == 0 {
		o.Buffers = 16 << 10
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// size is what the driver makes of queue i.
func (r *Rig) size(i int) uint16 { return min(r.opts.QueueSize, r.Device.MaxSize(i)) }

// renew gives the driver fresh memory, full of a pattern.
func (r *Rig) renew() {
	r.Memory = vringtest.Within(r.space, memoryAddr+r.odd*r.room, r.room)
	r.Memory.Fill()
	r.odd ^= 1
	clear(r.queues)
}

// Up brings the device up from reset with the features the driver asks for, and the queues
// given, or all.
func (r *Rig) Up(f virtio.Features, queues ...int) error {
	if err := r.Negotiate(f); err != nil {
		return err
	}
	if len(queues) == 0 {
		for i := range r.queues {
			queues = append(queues, i)
		}
	}
	for _, i := range queues {
		if err := r.Enable(i); err != nil {
			return err
		}
	}
	return r.Go()
}

// Negotiate does what comes before the queues (3.1.1): Up to FEATURES_OK.
func (r *Rig) Negotiate(f virtio.Features) error {
	r.renew()
	if r.opts.Legacy {
		r.Device.SetDriverFeatures(virtio.Features{}.SetWord(0, f.Word(0)))
		return nil
	}
	r.Device.SetStatus(virtio.Acknowledge)
	r.Device.SetStatus(virtio.Acknowledge | virtio.Driver)
	r.Device.SetDriverFeatures(f)
	want := virtio.Acknowledge | virtio.Driver | virtio.FeaturesOK
	if s := r.Device.SetStatus(want); s != want {
		return fmt.Errorf("status is %v after features %v", s, f)
	}
	return nil
}

// Enable lays out queue i in the driver's memory and enables it.
func (r *Rig) Enable(i int) error {
	layout := vring.Layout{}
	if r.opts.Legacy {
		layout = r.Memory.Legacy(r.size(i), 4096)
	} else {
		layout = r.Memory.Modern(r.size(i))
	}
	q := &Queue{
		Ring: r.Memory.NewRing(layout), rig: r, index: i,
		eventIdx: r.Device.DriverFeatures().And(r.Device.Offered()).Has(virtio.EventIdx),
		chains:   make(map[uint16]int), busy: make([]bool, layout.Size),
		early: make(map[uint16]vringtest.Elem),
	}
	if err := r.Device.EnableQueue(r.space, vring.Config{Layout: layout, Index: i}); err != nil {
		return err
	}
	r.queues[i] = q
	return nil
}

// Go sets DRIVER_OK. It fails when no session comes of that.
func (r *Rig) Go() error {
	before := r.Device.Stats().Sessions
	if r.opts.Legacy {
		r.Device.Start()
	} else {
		r.Device.SetStatus(r.Device.Status() | virtio.DriverOK)
	}
	if st := r.Device.Stats(); st.Sessions == before {
		return fmt.Errorf("the device does not go live: status %v, broken %q", st.Status, st.Broken)
	}
	return nil
}

// Queue is the driver's side of queue i, or nil when it is not enabled.
func (r *Rig) Queue(i int) *Queue { return r.queues[i] }

// Reset resets the device and waits until it has let go of the memory (2.4). It fails when the
// device does not in time.
func (r *Rig) Reset() error {
	if r.opts.Legacy {
		r.Device.End()
	} else {
		r.Device.SetStatus(0)
	}
	if !r.Await(func() bool { return r.Device.FinishReset() && r.Device.Quiet() }) {
		return fmt.Errorf("no end of the reset after %v: Serve has not returned", r.opts.Patience)
	}
	return nil
}

// Await waits until cond says yes, asking again whenever the device did something, and every
// now and then. It reports whether that came in time.
func (r *Rig) Await(cond func() bool) bool {
	timeout := time.NewTimer(r.opts.Patience)
	defer timeout.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-r.changed:
		case <-tick.C:
		case <-timeout.C:
			return cond()
		}
	}
	return true
}

// UsedNotifications is how many used-buffer notifications came for queue i so far.
func (r *Rig) UsedNotifications(i int) uint64 { return r.used[i].Load() }

// ConfigNotifications is how many configuration-change notifications came so far.
func (r *Rig) ConfigNotifications() uint64 { return r.config.Load() }

// transport is the Rig as the Device sees it.
type transport Rig

func (t *transport) NotifyUsed(i int) { t.used[i].Add(1); t.Wake() }
func (t *transport) NotifyConfig()    { t.config.Add(1); t.Wake() }

func (t *transport) Wake() {
	select {
	case t.changed <- struct{}{}:
	default:
	}
}
