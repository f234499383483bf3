package hvl2

import (
	"sync"
	"testing"

	"gotest.tools/v3/assert"
)

// interruptStatus is the register as the driver computes it.
func (r *rig) interruptStatus() (status, used, config uint32) {
	used, config = r.load(OffUsedEvents), r.load(OffConfigEvents)
	if used != r.load(OffUsedSeen) {
		status |= 1
	}
	if config != r.load(OffConfigSeen) {
		status |= 2
	}
	return status, used, config
}

func TestMMIO_12_EachEventUntilItIsAcknowledged(t *testing.T) {
	d := newCounting()
	r := newRig(t, d)
	r.up(1)
	status, _, _ := r.interruptStatus()
	assert.Equal(t, status, uint32(0))
	r.q(0).mustServe()
	r.change(d, <-d.session, 3)
	status, used, config := r.interruptStatus()
	assert.Equal(t, status, uint32(3))
	r.store(OffConfigSeen, config)
	status, _, _ = r.interruptStatus()
	assert.Equal(t, status, uint32(1), "the other one stays")
	r.ring()
	assert.Equal(t, r.load(OffUsedEvents), used)
	r.store(OffUsedSeen, used)
	status, _, _ = r.interruptStatus()
	assert.Equal(t, status, uint32(0))
}

func TestMMIO_13_NoEventThatDidNotHappen(t *testing.T) {
	d := newCounting()
	r := newRig(t, d)
	r.up(1)
	for range 5 {
		r.q(0).mustServe()
		assert.Equal(t, r.load(OffConfigEvents), r.load(OffConfigSeen))
	}
	r.store(OffUsedSeen, r.load(OffUsedEvents))
	r.change(d, <-d.session, 9)
	r.must(RegQueueSel, 0) // acknowledgements ring, but are no events
	assert.Equal(t, r.load(OffUsedEvents), r.load(OffUsedSeen))
	assert.Equal(t, r.load(RegInterruptStatus), uint32(0))
}

// Threads of several queues count, one scan counts, a handler acknowledges what it read: nothing
// is lost, and a counter never goes back.
func TestHVL_05_AckRacesTheNextEvent(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(2)
	const each = 20000
	before := r.load(OffUsedEvents)
	var all sync.WaitGroup
	for queue := range 2 {
		all.Add(1)
		go func() {
			defer all.Done()
			for range each {
				r.slot.NotifyUsed(queue)
			}
		}()
	}
	stop, handled := make(chan struct{}), make(chan uint32)
	go func() {
		last := before
		for {
			su := r.load(OffUsedEvents)
			if su-last > 1<<31 {
				t.Errorf("the counter went from %d to %d", last, su)
			}
			last = su
			r.store(OffUsedSeen, su)
			select {
			case <-stop:
				handled <- last
				return
			default:
			}
		}
	}()
	all.Wait()
	after := r.load(OffUsedEvents)
	assert.Equal(t, after, before+2*each)
	stop <- struct{}{}
	last := <-handled
	assert.Equal(t, last != after, r.load(OffUsedSeen) != after, "what came after the reading is still to be seen")
}

func TestHVL_04_OneDoorbellForEverything(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(2)
	r.q(0).offer(0, "zero")
	r.q(1).offer(0, "one")
	r.begin(RegQueueSel, 1) // with the one ring
	_, zero := r.q(0).came()
	_, one := r.q(1).came()
	assert.Equal(t, zero+one, "zeroone")
	assert.Assert(t, r.acked())
}

func TestDRV_19_KickFlood(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(1)
	rings, used := r.rings.Load(), r.load(OffUsedEvents)
	for range 10000 {
		r.ring()
	}
	assert.Equal(t, r.rings.Load(), rings)
	assert.Equal(t, r.load(OffUsedEvents), used)
	r.q(0).mustServe()
}

// The scan and a notification are the hot path.
func TestNothingIsAllocated(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := newRig(t, inOrder())
	r.up(2)
	assert.Equal(t, testing.AllocsPerRun(100, func() { r.slot.Scan() }), 0.0)
	assert.Equal(t, testing.AllocsPerRun(100, func() { r.slot.NotifyUsed(1) }), 0.0)
}
