package driver

import (
	"context"
	"fmt"
	"math/bits"

	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// What any driver of this page can do, and says so where it is offered.
var pageFeatures = virtio.FeatureSet(virtio.Version1, virtio.AccessPlatform, virtio.OrderPlatform)

// bootPage is Boot for hvl-v2: each step is one transaction and what is read after it.
func (d *Device) bootPage(c Config) ([]Step, error) {
	if len(c.Sizes) == 0 {
		return nil, fmt.Errorf("driver: %v: no queue asked for", d)
	}
	if err := d.w.join(d); err != nil {
		return nil, fmt.Errorf("driver: %v: %w", d, err)
	}
	b := &pageBoot{d: d, c: c, next: &life{changed: c.ConfigChanged, lost: c.Lost}}
	b.all()
	return b.steps, nil
}

// pageBoot collects the steps of a bring-up, and what they make.
type pageBoot struct {
	d        *Device
	c        Config
	next     *life
	features virtio.Features
	steps    []Step
}

func (b *pageBoot) all() {
	p := b.d.page
	b.add("drain", func(ctx context.Context) error { b.d.endLife(); return p.drain(ctx) })
	b.add("Status=0", p.reset)
	b.status(virtio.Acknowledge)
	b.status(virtio.Acknowledge | virtio.Driver)
	for i := range uint32(virtio.FeatureBits / 32) {
		b.write(fmt.Sprintf("DeviceFeaturesSel=%d", i), hvl2.RegDeviceFeaturesSel, i, func() error {
			b.features = b.features.SetWord(i, p.load(hvl2.RegDeviceFeatures))
			return nil
		})
	}
	for i := range uint32(virtio.FeatureBits / 32) {
		b.write(fmt.Sprintf("DriverFeaturesSel=%d", i), hvl2.RegDriverFeaturesSel, i, nil)
		b.add(fmt.Sprintf("DriverFeatures %d", i), func(ctx context.Context) error {
			return p.write(ctx, hvl2.RegDriverFeatures, b.accepted().Word(i))
		})
	}
	b.status(virtio.Acknowledge | virtio.Driver | virtio.FeaturesOK)
	for i, size := range b.c.Sizes {
		b.queue(i, size)
	}
	b.add("publish", func(context.Context) error {
		f := b.accepted()
		b.d.negotiated.Store(&f)
		b.d.life.Store(b.next)
		return nil
	})
	b.status(virtio.Acknowledge | virtio.Driver | virtio.FeaturesOK | virtio.DriverOK)
	b.add("live", func(context.Context) error {
		for _, q := range b.next.queues {
			q.goLive()
		}
		return nil
	})
}

// accepted is what both sides understand.
func (b *pageBoot) accepted() virtio.Features {
	return b.features.And(b.c.Features.With(pageFeatures))
}

func (b *pageBoot) status(s virtio.Status) {
	b.write(fmt.Sprintf("Status=%d", s), hvl2.RegStatus, uint32(s), func() error {
		switch got := virtio.Status(b.d.page.load(hvl2.RegStatus)); {
		case b.d.page.needsReset():
			return ErrNeedsReset
		case got != s && s&^got == virtio.FeaturesOK:
			return fmt.Errorf("%w %v", ErrFeatures, b.accepted())
		case got != s:
			return fmt.Errorf("%w: status reads %v", ErrRefused, got)
		}
		return nil
	})
}

// queue sets one up. The ring's memory is taken when the device has let go of a former one.
func (b *pageBoot) queue(i int, size uint16) {
	p := b.d.page
	var q *Queue
	b.write(fmt.Sprintf("QueueSel=%d", i), hvl2.RegQueueSel, uint32(i), func() error {
		ring, mem, err := b.d.newPageRing(i, size, b.accepted())
		if err != nil {
			return err
		}
		q = newQueue(b.d, i, ring, mem)
		b.next.queues = append(b.next.queues, q)
		p.lent = append(p.lent, q) // its memory is the device's from here to the next reset
		return nil
	})
	b.add(fmt.Sprintf("QueueSize=%d", i), func(ctx context.Context) error {
		return p.write(ctx, hvl2.RegQueueSize, uint32(q.ring.Size()))
	})
	for _, area := range queueAreas {
		for half := range uint32(2) {
			b.add(fmt.Sprintf("%s %d=%d", area.name, half, i), func(ctx context.Context) error {
				addr := area.of(ringLayout(q.mem.Addr, q.ring.size))
				return p.write(ctx, area.reg+4*half, uint32(addr>>(32*half)))
			})
		}
	}
	b.write(fmt.Sprintf("QueueReady=%d", i), hvl2.RegQueueReady, 1, func() error { return q.enabled() })
}

// queueAreas are the three parts of a ring and where their addresses go.
var queueAreas = []struct {
	name string
	reg  uint32
	of   func(vring.Layout) uint64
}{
	{"QueueDesc", hvl2.RegQueueDescLow, func(l vring.Layout) uint64 { return l.Desc }},
	{"QueueDriver", hvl2.RegQueueDriverLow, func(l vring.Layout) uint64 { return l.Avail }},
	{"QueueDevice", hvl2.RegQueueDeviceLow, func(l vring.Layout) uint64 { return l.Used }},
}

// ringLayout places the parts of a ring at addr: what the device writes has lines of its own.
func ringLayout(addr uint64, size uint16) vring.Layout {
	l := vring.Layout{Size: size, Desc: addr}
	l.Avail = l.Desc + l.DescBytes()
	l.Used = (l.Avail + l.AvailBytes() + unit - 1) &^ (unit - 1)
	return l
}

// newPageRing makes the ring of the queue that is selected, cleared.
func (d *Device) newPageRing(i int, size uint16, f virtio.Features) (*Ring, Buffer, error) {
	sizeMax := d.page.load(hvl2.RegQueueSizeMax)
	switch {
	case sizeMax == 0 || sizeMax > vring.MaxSize:
		return nil, Buffer{}, fmt.Errorf("queue %d: the device's maximum is %d", i, sizeMax)
	case d.page.load(hvl2.RegQueueReady) != 0:
		return nil, Buffer{}, fmt.Errorf("queue %d: ready before it was set up", i)
	}
	if size == 0 {
		size = 1 << (bits.Len32(min(sizeMax, defaultSize)) - 1)
	}
	if !vring.ValidSize(uint32(size)) || uint32(size) > sizeMax {
		return nil, Buffer{}, fmt.Errorf("queue %d: size %d is not a power of two up to the device's %d", i, size, sizeMax)
	}
	l := ringLayout(0, size)
	mem, err := d.pool.alloc(l.Used+l.UsedBytes(), unit)
	if err != nil {
		return nil, Buffer{}, fmt.Errorf("queue %d: ring of %d bytes: %w", i, l.Used+l.UsedBytes(), err)
	}
	ring, err := NewRing(d.page.space, ringLayout(mem.Addr, size), i, f.Has(virtio.EventIdx))
	if err != nil {
		mem.Free()
		return nil, Buffer{}, err
	}
	ring.Zero()
	return ring, mem, nil
}

// enabled follows the write of QueueReady: from here on the ring is shared.
func (q *Queue) enabled() error {
	if ready := q.d.page.load(hvl2.RegQueueReady); ready != 1 {
		return fmt.Errorf("%w: QueueReady reads %d", ErrRefused, ready)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.acked = true
	return nil
}

func (b *pageBoot) write(name string, reg, value uint32, then func() error) {
	b.add(name, func(ctx context.Context) error {
		if err := b.d.page.write(ctx, reg, value); err != nil || then == nil {
			return err
		}
		return then()
	})
}

func (b *pageBoot) add(name string, do func(context.Context) error) {
	b.steps = append(b.steps, Step{Name: name, w: b.d.w, do: func(ctx context.Context) error {
		b.d.page.mu.Lock()
		defer b.d.page.mu.Unlock()
		return b.d.page.verdict(do(ctx))
	}})
}
