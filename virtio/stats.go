package virtio

import "sync/atomic"

// DeviceStats is a snapshot of a device.
type DeviceStats struct {
	Name     string
	ID       DeviceID
	Status   Status
	Features Features // negotiated
	Live     bool
	Broken   string       // why the device stopped, or ""
	Sessions uint64       // how many times the driver reached DRIVER_OK
	Faults   uint64       // what was wrong with driver or backend, whether it was logged or not
	Panics   uint64       // of the backend, out of these
	Queues   []QueueStats // zero where no queue is enabled
}

// QueueStats counts what happened on a queue since its session began.
type QueueStats struct {
	Size     int    // entries
	Chains   uint64 // requests taken
	Refused  uint64 // of these and of malformed ones: given back with nothing done
	BytesIn  uint64 // device-readable bytes offered
	BytesOut uint64 // device-writable bytes filled
	Notified uint64 // used-buffer notifications sent
	Waits    uint64 // times the device went to sleep on the queue
}

// Stats is a snapshot of the device and the queues of its current session.
func (d *Device) Stats() DeviceStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := DeviceStats{
		Name: d.name, ID: d.info.ID, Status: d.status, Features: d.negotiated(),
		Live: d.live(), Sessions: d.sessions, Faults: d.faults.Load(), Panics: d.panics.Load(),
		Queues: make([]QueueStats, len(d.info.Queues)),
	}
	if d.broken != nil {
		st.Broken = d.broken.Error()
	}
	for i := range st.Queues {
		switch l := d.link(i); {
		case l == nil:
		case d.live():
			st.Queues[i] = d.session.queues[i].Stats()
		default:
			st.Queues[i].Size = l.ring.Size()
		}
	}
	return st
}

// queueCounters are the owner's counts where others can read them.
type queueCounters struct {
	chains, refused, in, out, notified, waits atomic.Uint64
}

func (s *queueCounters) store(c *QueueStats) {
	s.chains.Store(c.Chains)
	s.refused.Store(c.Refused)
	s.in.Store(c.BytesIn)
	s.out.Store(c.BytesOut)
	s.notified.Store(c.Notified)
	s.waits.Store(c.Waits)
}

// Stats is a snapshot of the counters, as of the last notification or the owner's last wait, or at
// most 32 chains ago.
func (q *Queue) Stats() QueueStats {
	return QueueStats{
		Size:     q.Size(),
		Chains:   q.shared.chains.Load(),
		Refused:  q.shared.refused.Load(),
		BytesIn:  q.shared.in.Load(),
		BytesOut: q.shared.out.Load(),
		Notified: q.shared.notified.Load(),
		Waits:    q.shared.waits.Load(),
	}
}
