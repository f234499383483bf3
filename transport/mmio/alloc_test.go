package mmio

import (
	"testing"

	"gotest.tools/v3/assert"
)

// A scan and a notification allocate nothing: with live devices, waiting ones, and one whose
// configuration the driver may write.
func TestScanAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, clear := range []bool{false, true} {
		w := &writable{configToy: newConfigToy()}
		toys := []*toy{{queues: 2, id: 0x4001}, {queues: 1, id: 0x4002}, {queues: 1, id: 0x4003, config: make([]byte, 64)}, w.toy}
		r := newRigOf(t, newRegion(t), func(o *Options) { o.ClearIdle = clear }, toys, toys[0], toys[1], toys[2], w).start()
		for i := range 2 {
			newFrontEnd(r, virtioExp, i).rest()
		}
		newFrontEnd(r, virtioExp, 3).rest()
		r.settle()
		r.abandon()
		assert.Equal(t, testing.AllocsPerRun(1000, func() {
			if err := r.bus.scan(); err != nil {
				t.Fatal(err)
			}
		}), 0.0, "scan, clear=%v", clear)
		assert.Equal(t, testing.AllocsPerRun(1000, func() { r.bus.slots[0].NotifyUsed(0) }), 0.0, "notification")
		assert.Equal(t, testing.AllocsPerRun(1000, func() { r.bus.Map() }), 0.0)
		for _, s := range r.bus.slots {
			s.dev.End()
			r.until("the end", s.dev.Quiet)
		}
	}
}
