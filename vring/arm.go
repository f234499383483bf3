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
// one is there already, so that the caller must not sleep (2.7.10.1).
func (q *Queue) Arm() (pending bool, err error) {
	if !q.gate.admit() {
		return false, ErrShut
	}
	defer q.latch(&err)
	defer q.leave(shmem.Guard(), &err)
	if !q.gate.stands() {
		return false, ErrShut
	}
	q.flags = 0
	switch {
	case q.eventIdx:
		// A true 16-bit store: what follows the ring in memory belongs to somebody else.
		q.used.Store16Plain(offRing+8*uint64(q.size), q.next)
		q.fence.StoreLoad()
	case q.stored != 0:
		q.storeUsed()
	}
	delta := q.avail.Load16(offIdx) - q.next
	return delta != 0 && !(q.patient && delta > q.size), nil
}
