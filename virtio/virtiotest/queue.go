package virtiotest

import (
	"fmt"
	"time"

	"github.com/hypervisorless/virtio/vring/vringtest"
)

// Queue is the driver's side of one queue of a Rig. What it lacks, the Ring below it has; but
// the two ways of offering chains do not mix in one session.
type Queue struct {
	*vringtest.Ring
	rig      *Rig
	index    int
	eventIdx bool
	taken    uint16                    // used index up to which Wait has gone
	chains   map[uint16]int            // in flight, by head: how many descriptors
	busy     []bool                    // descriptors of these
	early    map[uint16]vringtest.Elem // came back while waitFor waited for another
}

// Free is how many descriptors in a row are free.
func (q *Queue) Free() (n int) {
	for i := range q.busy {
		n = max(n, q.run(i))
	}
	return n
}

// run is how many descriptors from entry i on are free.
func (q *Queue) run(i int) (n int) {
	for n < len(q.busy) && !q.busy[(i+n)%len(q.busy)] {
		n++
	}
	return n
}

// Offer makes one chain available and kicks the device if it wants to be. It panics when there
// are not enough free descriptors.
func (q *Queue) Offer(d ...vringtest.Desc) (head uint16) {
	head = q.prepare(d...)
	q.publish()
	return head
}

// prepare does all of Offer that the device cannot see yet.
func (q *Queue) prepare(d ...vringtest.Desc) (head uint16) {
	// Anywhere but at the start, so that nothing depends on the order.
	start := int(q.AvailIdx()) * 7
	for i := range q.busy {
		head = uint16((start + i) % len(q.busy))
		if q.run(int(head)) >= len(d) {
			break
		}
		if i == len(q.busy)-1 {
			panic(fmt.Sprintf("virtiotest: no room for %d descriptors", len(d)))
		}
	}
	for i := range d {
		q.busy[(int(head)+i)%len(q.busy)] = true
	}
	q.chains[head] = len(d)
	q.Chain(head, d...)
	q.SetAvail(q.AvailIdx(), head)
	return head
}

func (q *Queue) publish() {
	q.SetAvailIdx(q.AvailIdx() + 1)
	if q.NeedKick(q.eventIdx) {
		q.rig.Device.Kick()
	}
}

// Wait waits for the next completion as a driver does, asleep until it is notified.
func (q *Queue) Wait() (vringtest.Elem, error) {
	timeout := time.NewTimer(q.rig.opts.Patience)
	defer timeout.Stop()
	for {
		if q.eventIdx {
			q.SetUsedEvent(q.taken)
		}
		if e, ok := q.Used(); ok {
			return e, q.done(e)
		}
		select {
		case <-q.rig.changed:
		case <-timeout.C:
			if e, ok := q.Used(); ok {
				return e, fmt.Errorf("queue %d: chain %d came back without a notification", q.index, e.ID)
			}
			return vringtest.Elem{}, fmt.Errorf("queue %d: nothing came back after %v", q.index, q.rig.opts.Patience)
		}
		if err := q.rig.Device.Broken(); err != nil {
			return vringtest.Elem{}, fmt.Errorf("queue %d: the device gave up: %w", q.index, err)
		}
	}
}

// waitFor is Wait for one chain of several.
func (q *Queue) waitFor(head uint16) (vringtest.Elem, error) {
	for {
		if e, ok := q.early[head]; ok {
			delete(q.early, head)
			return e, nil
		}
		e, err := q.Wait()
		if err != nil {
			return e, err
		}
		q.early[uint16(e.ID)] = e
	}
}

// done gives the descriptors of a completion back.
func (q *Queue) done(e vringtest.Elem) error {
	q.taken++
	n, ok := q.chains[uint16(e.ID)]
	if !ok || e.ID >= uint32(len(q.busy)) {
		return fmt.Errorf("queue %d: chain %d came back, but is not in flight", q.index, e.ID)
	}
	delete(q.chains, uint16(e.ID))
	for i := range n {
		q.busy[(int(e.ID)+i)%len(q.busy)] = false
	}
	return nil
}

// Do sends one request in the usual framing, waits for it and returns what the device wrote.
func (q *Queue) Do(readable []byte, writable int) (reply []byte, err error) {
	m := q.rig.Memory
	var d []vringtest.Desc
	if len(readable) > 0 {
		d = append(d, vringtest.Readable(m.Buffer(readable), uint32(len(readable))))
	}
	at := m.Alloc(uint64(writable), 1)
	if writable > 0 {
		d = append(d, vringtest.Writable(at, uint32(writable)))
	}
	q.Offer(d...)
	e, err := q.Wait()
	if err != nil {
		return nil, err
	}
	if e.Len > uint32(writable) {
		return nil, fmt.Errorf("queue %d: used length %d, only %d bytes are writable", q.index, e.Len, writable)
	}
	return m.Read(at, uint64(e.Len)), nil
}
