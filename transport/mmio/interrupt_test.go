package mmio

import (
	"testing"
	"time"
)

// An idle device stops costing its front-end once its interrupt is provably old news; a busy
// one never loses an interrupt over it, not even to the acknowledgement of an older one.
func TestClearIdle(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		r := newRig(t, newRegion(t), func(o *Options) { o.ClearIdle = true },
			&toy{queues: 1, id: 0x4001}, &toy{queues: 1, id: 0x4002}).start()
		busy, idle := newFrontEnd(r, d, 0), newFrontEnd(r, d, 1)
		busy.rest()
		idle.rest()
		r.until("the idle device's bit is cleared", func() bool {
			idle.interrupt()
			r.settle()
			return idle.get(RegInterruptStatus) == 0
		})
		if busy.get(RegInterruptStatus) == 0 {
			t.Error("the bit of a device that nobody acknowledged is gone")
		}
		idle.more()
		busy.more()
	})
}

func TestClearIdleStaleAcks(t *testing.T) {
	r := newRig(t, newRegion(t), func(o *Options) { o.ClearIdle = true },
		&toy{queues: 1, id: 0x4001}, &toy{queues: 1, id: 0x4002}).start()
	f, other := newFrontEnd(r, virtioExp, 0), newFrontEnd(r, virtioExp, 1)
	f.rest()
	other.rest()
	ack := func() {
		f.put(RegInterruptACK, 1)
		f.line.kick()
		f.settle()
	}
	for range 3 {
		ack() // a mark, then too soon to count
	}
	time.Sleep(2 * settleTime) // the rule is about time
	ack()                      // second
	ack()                      // third
	f.offer(0)
	f.line.kick()
	f.until("the completion", func() bool { return f.usedIdx(0) == f.sub[0] })
	f.settle()
	ack() // of a handler that ran before it
	if f.get(RegInterruptStatus) == 0 {
		t.Fatal("cleared by the acknowledgement of an older interrupt: this one is lost")
	}
	f.interrupt()
	if f.seen[0] != f.sub[0] {
		t.Error("interrupt lost")
	}
}
