package vring

import "github.com/hypervisorless/virtio/shmem"

// Disarm tells the driver, from the next Publish on, that kicks are not needed (2.7.10). With
// EVENT_IDX the index of the last Arm, soon behind, says the same.
func (q *Queue) Disarm() {
	if !q.eventIdx {
		q.flags = UsedNoNotify
	}
}

// Arm asks for a kick at the next available chain and looks once more: pending is true when
// one is there already, so that the caller must not sleep (2.7.10.1). The first Arm also puts
// the used index in order, whatever the driver left there.
func (q *Queue) Arm() (pending bool, err error) {
	if q.broken != nil {
		return false, q.broken
	}
	if q.free {
		return q.arm(), nil
	}
	if !q.gate.admit() {
		return false, ErrShut
	}
	defer q.latch(shmem.Guard(), &err)
	if !q.gate.stands() {
		return false, ErrShut
	}
	return q.arm(), nil
}

func (q *Queue) arm() (pending bool) {
	if q.flags = 0; q.stored != 0 {
		q.storeUsed()
	}
	if q.eventIdx {
		// A true 16-bit store: what follows the ring in memory belongs to somebody else.
		q.used.Store16Plain(offRing+8*uint64(q.size), q.next)
		q.fence.StoreLoad()
	}
	// The store above and this load are ordered, or a chain made available in between would
	// find the driver not kicking and the device asleep (2.7.10.2).
	delta := q.avail.Load16(offIdx) - q.next
	return delta != 0 && !(q.patient && delta > q.size)
}
