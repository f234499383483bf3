package driver

import (
	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
	"github.com/hypervisorless/virtio/virtio"
)

// arm has interrupts count from now on; what the device told a former driver is over.
func (p *page) arm(epoch uint32) {
	p.events.Lock()
	defer p.events.Unlock()
	p.usedSeen, p.configSeen = p.load(hvl2.OffUsedEvents), p.load(hvl2.OffConfigEvents)
	p.span.Store32(hvl2.OffUsedSeen, p.usedSeen)
	p.span.Store32(hvl2.OffConfigSeen, p.configSeen)
	p.generation = p.load(hvl2.RegConfigGeneration)
	p.epoch, p.armed, p.lost = epoch, true, false
}

func (p *page) disarm() {
	p.events.Lock()
	defer p.events.Unlock()
	p.armed = false
}

// take is the interrupt handler's look at the two event counters, after the doorbell was cleared:
// what was read is acknowledged, never a later reading, so that an event in between has the
// handler come again. It starts no transaction.
func (p *page) take() (used, config, lost bool) {
	p.events.Lock()
	defer p.events.Unlock()
	if !p.armed {
		return false, false, false
	}
	su, sc := p.load(hvl2.OffUsedEvents), p.load(hvl2.OffConfigEvents)
	if used = su != p.usedSeen; used {
		p.usedSeen = su
		p.span.Store32(hvl2.OffUsedSeen, su)
	}
	if sc != p.configSeen {
		p.configSeen = sc
		p.span.Store32(hvl2.OffConfigSeen, sc)
		// An odd generation is of an update that will have an event of its own.
		if g := p.load(hvl2.RegConfigGeneration); g != p.generation && g&1 == 0 {
			p.generation, config = g, true
		}
	}
	// A monitor that knows nothing of its predecessor begins with no event, just with a ring.
	if p.needsReset() && !p.lost {
		p.lost, lost = true, true
	}
	return used, config, lost
}

// needsReset: the device, or a monitor that came up without its state, asks for a reset.
func (p *page) needsReset() bool {
	return virtio.Status(p.load(hvl2.RegStatus))&virtio.NeedsReset != 0 || p.load(hvl2.OffEpoch) != p.epoch
}

// serveEvents is the interrupt of a device of hvl-v2. found reports whether there was one.
func (d *Device) serveEvents() (found bool) {
	used, config, lost := d.page.take()
	life := d.life.Load()
	if life == nil {
		return false
	}
	if used {
		for _, q := range life.queues {
			found = q.poll() || found
		}
	}
	if config && life.changed != nil {
		life.changed()
	}
	if lost {
		life.lose(ErrNeedsReset)
	}
	return found || config || lost
}

// lose ends the queues and tells the driver.
func (l *life) lose(err error) {
	for _, q := range l.queues {
		q.fail(err)
	}
	if l.lost != nil {
		l.lost(err)
	}
}
