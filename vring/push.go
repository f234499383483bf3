package vring

import "github.com/hypervisorless/virtio/shmem"

// Push gives a chain back with the bytes written to it. The driver sees it at the next
// Publish. A Chain that is not in flight is ignored: no head is ever returned twice.
func (q *Queue) Push(c *Chain) {
	if c.flying && c.q == q {
		c.flying = false
		q.push(uint32(c.head), c.Written())
	}
}

// Refuse gives a chain back with length 0: what was written to it does not count.
func (q *Queue) Refuse(c *Chain) {
	if c.flying && c.q == q {
		c.flying = false
		q.push(uint32(c.head), 0)
	}
}

func (q *Queue) push(id, n uint32) {
	if len(q.pending) == cap(q.pending) {
		// An error comes again from the next Publish.
		notify, _ := q.Publish()
		q.owed = q.owed || notify
	}
	q.pending = append(q.pending, element{id, n})
}

// Pending is how many completions wait for Publish. It never exceeds 256 or the queue size:
// Push publishes before it does.
func (q *Queue) Pending() int { return len(q.pending) }

// Publish makes the pushed chains visible with one store of the used index (2.7.8.2) and
// says whether the driver wants a notification for them (2.7.7.2). When an error is returned
// they are dropped: the ring is broken, the memory gone or the session over.
func (q *Queue) Publish() (notify bool, err error) {
	if q.broken != nil {
		return false, q.drop(q.broken)
	}
	if len(q.pending) == 0 && q.signalled == q.published {
		notify, q.owed = q.owed, false
		return notify, nil
	}
	if q.free {
		return q.publish(), nil
	}
	if !q.gate.admit() {
		return false, q.drop(ErrShut)
	}
	defer q.latch(shmem.Guard(), &err)
	if !q.gate.stands() {
		return false, q.drop(ErrShut)
	}
	return q.publish(), nil
}

func (q *Queue) drop(err error) error {
	q.pending, q.owed = q.pending[:0], false
	return err
}

// Show makes the pushed chains visible like Publish, but leaves the question of a notification
// to the next Publish, which has to come before the device waits for anything. A driver that
// polls has its answers early, and the full barrier of that question is paid once a batch. An
// error comes again from Publish.
func (q *Queue) Show() (err error) {
	if len(q.pending) == 0 || q.broken != nil {
		return q.broken
	}
	if q.free {
		q.store()
		q.releaseUsed()
		q.settled()
		return nil
	}
	if !q.gate.admit() {
		return ErrShut
	}
	defer q.latch(shmem.Guard(), &err)
	if !q.gate.stands() {
		return ErrShut
	}
	q.store()
	q.releaseUsed()
	q.settled()
	return nil
}

// store moves the pending elements to the used ring, where the index does not show them yet.
func (q *Queue) store() {
	for i, e := range q.pending {
		slot := offRing + 8*uint64((q.published+uint16(i))&q.mask)
		q.used.Store32Plain(slot, e.id)
		q.used.Store32Plain(slot+4, e.len)
		if q.journal != nil {
			q.journal.Return(uint16(e.id), q.published+uint16(i))
		}
	}
	q.published += uint16(len(q.pending))
	q.pending = q.pending[:0]
}

// settled tells the journal that the used index shows everything.
func (q *Queue) settled() {
	if q.journal != nil {
		q.journal.Publish(q.published)
	}
}

func (q *Queue) publish() (notify bool) {
	q.store()
	q.storeUsed()
	q.settled()

	// The store above and the load below are both sequentially consistent: the full barrier
	// between publishing and reading what the driver wants (2.7.7).
	old := q.signalled
	q.signalled = q.published
	notify = q.owed
	q.owed = false
	if q.eventIdx {
		event := q.avail.Load16(offRing + 2*uint64(q.size))
		return NeedEvent(event, q.published, old) || notify
	}
	return q.avail.Load16(0)&AvailNoInterrupt == 0 || notify
}

// storeUsed stores flags and index as one word: both are the device's, and the one store
// releases every element before it.
func (q *Queue) storeUsed() {
	q.stored = q.flags
	q.used.Store32(0, q.usedWord())
}

func (q *Queue) usedWord() uint32 { return uint32(q.flags) | uint32(q.published)<<16 }
