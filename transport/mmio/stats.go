package mmio

import "github.com/hypervisorless/virtio/virtio"

// Stats is a snapshot of one device of a window.
type Stats struct {
	// DeviceStats is the device's own; its Status is what the driver last wrote.
	virtio.DeviceStats
	// Refusals counts what the driver asked of the registers and did not get: queues that are
	// not acknowledged because of their size or place, features that were not offered; of a slot
	// page, transactions that were not done.
	Refusals uint64
	// Restarts counts sessions that ended because the front-end booted again, or reset the
	// device.
	Restarts uint64
}

// Stats is a snapshot of every device, in the order of the places of the Map.
func (b *Bus) Stats() []Stats {
	all := make([]Stats, 0, len(b.slots))
	for _, s := range b.slots {
		st := Stats{DeviceStats: s.dev.Stats(), Refusals: s.refusals.Load(), Restarts: s.restarts.Load()}
		st.Status = virtio.Status(s.status.Load())
		all = append(all, st)
	}
	for _, p := range b.pages {
		st := p.Stats()
		all = append(all, Stats{DeviceStats: st.DeviceStats, Refusals: st.Refusals, Restarts: st.Resets})
	}
	return all
}
