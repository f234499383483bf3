package vring_test

import (
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// complete serves n empty requests with one Publish and returns whether it says to notify.
func (e *env) complete(t testing.TB, n int) (notify bool) {
	t.Helper()
	e.take(t, n)
	return e.publish(t)
}

// take pops and pushes n empty requests.
func (e *env) take(t testing.TB, n int) {
	t.Helper()
	for i := range n {
		e.r.Offer(uint16(i))
	}
	var c vring.Chain
	for range n {
		e.pop(t, &c)
		e.q.Push(&c)
	}
}

// flagsOnly runs fn on queues without EVENT_IDX, events on those with it.
func flagsOnly(t *testing.T, c vring.Config, fn func(t *testing.T, e *env)) {
	matrix(t, c, func(t *testing.T, e *env) {
		if !e.c.EventIdx {
			fn(t, e)
		}
	})
}

func events(t *testing.T, c vring.Config, fn func(t *testing.T, e *env)) {
	matrix(t, c, func(t *testing.T, e *env) {
		if e.c.EventIdx {
			fn(t, e)
		}
	})
}

func TestRING_14_UsedEventIgnoredWithoutEventIdx(t *testing.T) {
	flagsOnly(t, size(8), func(t *testing.T, e *env) {
		for event := range uint16(10) {
			e.r.SetUsedEvent(event * 0x1fff)
			e.r.SetAvailFlags(0)
			assert.Assert(t, e.complete(t, 2))
			e.r.SetAvailFlags(vring.AvailNoInterrupt)
			assert.Assert(t, !e.complete(t, 2))
		}
	})
}

func TestRING_15_FlagsAskForANotification(t *testing.T) {
	flagsOnly(t, size(8), func(t *testing.T, e *env) {
		for n := 1; n <= 8; n++ {
			assert.Assert(t, e.complete(t, n), "batch of %d", n)
		}
	})
}

func TestRING_16_FlagsAskForNone(t *testing.T) {
	flagsOnly(t, size(8), func(t *testing.T, e *env) {
		e.r.SetAvailFlags(vring.AvailNoInterrupt)
		for i := range 100 {
			assert.Assert(t, !e.complete(t, 1+i%8))
		}
	})
}

func TestRING_17_FlagsIgnoredWithEventIdx(t *testing.T) {
	events(t, size(8), func(t *testing.T, e *env) {
		e.r.SetAvailFlags(vring.AvailNoInterrupt)
		e.r.SetUsedEvent(0)
		assert.Assert(t, e.complete(t, 1))
		assert.Assert(t, !e.complete(t, 1))
	})
}

// For every event in reach of a batch, around 0 and around the wrap: a notification if one of
// the entries is the one asked for, none otherwise.
func TestRING_18_EventIdxNotify(t *testing.T) {
	for _, start := range []uint16{0, 65530} {
		c := size(8)
		c.Start = start
		t.Run(fmt.Sprint("from ", start), func(t *testing.T) {
			events(t, c, func(t *testing.T, e *env) {
				for n := 1; n <= 8; n++ {
					for ahead := -9; ahead <= 17; ahead++ {
						old := e.r.UsedIdx()
						event := old + uint16(ahead)
						e.r.SetUsedEvent(event)
						want := ahead >= 0 && ahead < n
						assert.Equal(t, e.complete(t, n), want, "%d entries from %d on, event %d", n, old, event)
					}
				}
			})
		})
	}
}

func TestRING_19_EventFarAhead(t *testing.T) {
	events(t, size(8), func(t *testing.T, e *env) {
		for i := range 100 {
			e.r.SetUsedEvent(e.r.UsedIdx() + 8)
			assert.Assert(t, !e.complete(t, 1+i%8))
		}
	})
}

// A Push that has to publish owes the driver the notification, once.
func TestRING_18_EarlyPublishOwesTheNotification(t *testing.T) {
	const n = 512
	for _, event := range []uint16{3, 299, 400} {
		m := newMemory(memfd(t, 1<<16))
		c := vring.Config{Layout: m.Modern(n), EventIdx: true}
		e := newEnv(t, m, c)
		e.r.SetUsedEvent(event)
		e.take(t, 300)
		assert.Assert(t, e.q.Pending() <= 256)
		assert.Assert(t, e.r.UsedIdx() > 0)
		assert.Equal(t, e.publish(t), event < 300)
		assert.Equal(t, e.r.UsedIdx(), uint16(300))
		assert.Assert(t, !e.publish(t))
	}
}

// Show decides nothing, the Publish after it decides for all that it showed.
func TestRING_18_ShowLeavesTheDecision(t *testing.T) {
	events(t, size(8), func(t *testing.T, e *env) {
		for event := range uint16(6) {
			e.r.SetUsedEvent(e.r.UsedIdx() + event)
			before := e.r.UsedIdx()
			for i := range uint16(3) {
				e.take(t, 1)
				assert.NilError(t, e.q.Show())
				assert.Equal(t, e.r.UsedIdx(), before+i+1)
			}
			e.take(t, int(event)%2) // with and without something left to publish
			assert.Equal(t, e.publish(t), event < 3+event%2, "event %d ahead", event)
			assert.Assert(t, !e.publish(t))
		}
	})
}

// disarming samples used.flags over a busy life of the queue.
func disarming(t *testing.T, e *env, sample func(flags uint16, disarmed bool)) {
	for i := range 100 {
		e.q.Disarm()
		e.complete(t, 1+i%8)
		sample(e.r.UsedFlags(), true)
		_, err := e.q.Arm()
		assert.NilError(t, err)
		sample(e.r.UsedFlags(), false)
	}
}

func TestRING_21_UsedFlagsAreZeroOrOne(t *testing.T) {
	flagsOnly(t, size(8), func(t *testing.T, e *env) {
		disarming(t, e, func(flags uint16, disarmed bool) {
			want := uint16(0)
			if disarmed {
				want = vring.UsedNoNotify
			}
			assert.Equal(t, flags, want)
		})
	})
}

func TestRING_22_UsedFlagsAreZeroWithEventIdx(t *testing.T) {
	events(t, size(8), func(t *testing.T, e *env) {
		disarming(t, e, func(flags uint16, _ bool) { assert.Equal(t, flags, uint16(0)) })
	})
}

// Arm asks for a kick at exactly the next chain, says when it is there already, and writes
// nothing behind avail_event.
func TestRING_23_ArmAsksForTheNextChain(t *testing.T) {
	c := size(8)
	c.Start = 65534
	matrix(t, c, func(t *testing.T, e *env) {
		for range 5 {
			e.q.Disarm()
			e.complete(t, 1)
			e.r.NeedKick(e.c.EventIdx) // what was offered so far
			before := e.Snapshot()
			pending, err := e.q.Arm()
			assert.NilError(t, err)
			assert.Assert(t, !pending)
			if e.c.EventIdx {
				assert.Equal(t, e.r.AvailEvent(), e.r.AvailIdx())
			}
			assert.NilError(t, before.Changed(e.r.UsedRange()))

			e.r.Put(0, vringtest.Desc{})
			e.r.Offer(0)
			assert.Assert(t, e.r.NeedKick(e.c.EventIdx))
			pending, err = e.q.Arm()
			assert.NilError(t, err)
			assert.Assert(t, pending)
			var c vring.Chain
			e.pop(t, &c)
			e.q.Push(&c)
			e.publish(t)
		}
	})
}
