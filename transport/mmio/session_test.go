package mmio

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

func TestSTS_01_NothingConsumedBeforeDriverOK(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		r := newRig(t, newRegion(t), nil).start()
		f := newFrontEnd(r, d, 0)
		f.run("Status=4")
		for q := range f.pages {
			f.offer(q)
		}
		for _, status := range []uint32{1, 2, 3, 11} {
			f.put(RegStatus, status)
			f.line.kick()
			f.settle()
			assert.Equal(t, r.toys[0].served.Load(), int64(0), "status %d", status)
			assert.Equal(t, f.usedIdx(0), uint16(0))
		}
		f.put(RegStatus, 15)
		f.line.kick() // the status is what is rung for
		f.until("both served without a kick of their own", func() bool { return f.usedIdx(0) == 1 && f.usedIdx(1) == 1 })
	})
}

func TestSTS_02_NoInterruptBeforeDriverOK(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		r := newRig(t, newRegion(t), nil).start()
		f := newFrontEnd(r, d, 0)
		f.run("Status=4")
		f.settle()
		rung := f.line.out.rung.Load()
		for q := range f.pages {
			f.offer(q)
			f.line.kick()
			f.settle()
		}
		if r.bus.slots[0].dev.Live() { // it must not be: wait for what comes of it
			f.until("a request served", func() bool { return f.line.out.rung.Load() > rung })
		}
		assert.Equal(t, f.line.out.rung.Load(), rung)
		assert.Equal(t, f.get(RegInterruptStatus), uint32(0))
	})
}

// From the moment the device knows of a restart the old session touches nothing and rings
// nobody, whatever its backend still does.
func TestRST_02_NothingAfterARestart(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		inside, leave := make(chan struct{}), make(chan struct{})
		dev := &toy{queues: 1, id: 0x4001}
		dev.handle = func(int, *vring.Chain) {
			if dev.served.Load() == 1 {
				close(inside)
				<-leave
			}
		}
		r := newRig(t, newRegion(t), nil, dev).start()
		f := newFrontEnd(r, d, 0)
		f.rest()
		f.quiesce()
		f.offer(0)
		f.line.kick()
		<-inside
		old := f.layout(0)
		f.pages[0] += 8 // another image, and its memory is where the old one's was
		f.boot()
		f.run("ack 0")
		r.sleepsNow()
		canary := []byte(strings.Repeat("\xa5", int(vring.LegacyBytes(old.Size, PageSize))))
		f.mem.WriteAt(canary, old.Desc)
		f.mem.WriteAt(canary[:16], f.buffer(0))
		f.mem.WriteAt(canary[:4], f.reg(RegInterruptStatus))
		for len(f.line.out.c) > 0 {
			<-f.line.out.c
		}
		rung := f.line.out.rung.Load()
		assert.Assert(t, f.get(RegQueuePFN) != QueueAck, "acknowledged while the old session is in a request")
		close(leave)
		r.until("the acknowledgement", func() bool { return f.get(RegQueuePFN) == QueueAck })
		r.sleepsNow()
		got := make([]byte, len(canary))
		f.mem.ReadAt(got, old.Desc)
		assert.Equal(t, string(got), string(canary))
		f.mem.ReadAt(got[:16], f.buffer(0))
		assert.Equal(t, string(got[:16]), string(canary[:16]))
		assert.Equal(t, f.get(RegInterruptStatus), uint32(0), "cleared for the new session")
		assert.Equal(t, f.line.out.rung.Load(), rung+1, "the one ring of the acknowledgement")
		f.boot()
		f.rest()
		f.more()
	})
}

func TestHVL_03_NoAckBeforeTheOldSessionLetGo(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		f := live(t, d)
		f.pause(pointMemory, 1)
		f.offer(0)
		f.line.kick()
		f.awaitPause() // a worker, about to touch memory
		f.put(RegStatus, 0)
		f.line.kick()
		f.sleepsNow()
		f.boot()
		f.walk(stepIndex(f, "ack 0"))
		for range 3 {
			f.line.kick()
			f.sleepsNow()
			assert.Assert(t, f.get(RegQueuePFN) != QueueAck)
		}
		f.goOn()
		f.rest()
		f.more()
	})
}

func TestHVL_04_OneDoorbellForEverything(t *testing.T) {
	r := newRig(t, newRegion(t), nil, &toy{queues: 1, id: 0x4001}, &toy{queues: 1, id: 0x4002}, &toy{queues: 1, id: 0x4003}).start()
	var fe []*frontEnd
	for i := range r.toys {
		fe = append(fe, newFrontEnd(r, virtioExp, i))
		fe[i].rest()
		fe[i].quiesce()
	}
	for range 100 {
		fe[0].put(RegInterruptACK, 1) // an acknowledgement,
		fe[0].offer(0)                // a request of the same device,
		fe[1].offer(0)                // of another,
		fe[2].put(RegQueuePFN, fe[2].pfn(0))
		r.line.kick() // and one ring
		r.until("all served", func() bool { return fe[0].usedIdx(0) == fe[0].sub[0] && fe[1].usedIdx(0) == fe[1].sub[0] })
	}
	// A restart of one, the bring-up and the requests of the others.
	fe[1].boot()
	fe[1].walk(stepIndex(fe[1], "ack 0"))
	r.line.kick()
	fe[1].rest()
}

// A front-end that stops at any step holds up nothing but itself, and the monitor ends when it
// is told to.
func TestHVL_08_PeerStopsAnywhere(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		steps := len(newFrontEnd(newRig(t, newRegion(t), nil), d, 0).steps)
		region := newRegion(t)
		for n := range steps {
			wipe(t, region)
			r := newRig(t, region, nil, &toy{queues: 2, id: 0x4001}, &toy{queues: 1, id: 0x4002}).start()
			dead, f := newFrontEnd(r, d, 0), newFrontEnd(r, d, 1)
			dead.run(dead.steps[n].name)
			f.rest()
			f.more()
			r.settle()
			r.stop()
		}
	})
}

// A backend that does not return when it is told to is named, and the monitor ends without it.
func TestHVL_08_BackendDoesNotStop(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	bad := &toy{queues: 1, id: 0x4001, serve: func(context.Context, *virtio.Session) error {
		close(inside)
		<-leave
		return nil
	}}
	r := newRig(t, newRegion(t), nil, bad, &toy{queues: 1, id: 0x4002}).start()
	defer close(leave)
	f, other := newFrontEnd(r, virtioExp, 0), newFrontEnd(r, virtioExp, 1)
	other.rest()
	f.run("answer 0")
	<-inside
	other.more()
	r.bus.patience = 100 * time.Millisecond
	r.cancel()
	err := r.wait()
	assert.ErrorContains(t, err, "toy0: backend did not stop")
	assert.Assert(t, !strings.Contains(err.Error(), "toy1"))
}

func TestDoorbellFails(t *testing.T) {
	f := live(t, virtioExp)
	f.line.fail(errors.New("cut"))
	assert.ErrorContains(t, f.wait(), "doorbell: cut")
	for _, s := range f.bus.slots {
		assert.Assert(t, s.dev.Quiet(), "a session outlived Run")
	}
}

// A doorbell that cannot be rung is said, and not once a request.
func TestDoorbellCannotBeRung(t *testing.T) {
	f := live(t, virtioExp)
	f.line.mu.Lock()
	f.line.deaf = errors.New("deaf")
	f.line.mu.Unlock()
	for range 100 {
		f.offer(0)
		f.line.kick()
		f.until("a request served", func() bool { return f.usedIdx(0) == f.sub[0] })
	}
	lines := strings.Count(f.log.String(), "doorbell failed")
	assert.Assert(t, lines > 0 && lines <= sayBurst, "%d lines", lines)
}

func TestIsolate(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		r := newRig(t, newRegion(t), func(o *Options) { o.Isolate = true }, &toy{queues: 1, id: 0x4001}, &toy{queues: 1, id: 0x4002}).start()
		a, b := newFrontEnd(r, d, 0), newFrontEnd(r, d, 1)
		a.rest()
		b.rest()
		a.boot()
		a.rest()
		b.more()
		assert.Equal(t, r.toys[1].ended.Load(), int64(0), "the neighbour's session ended")
		assert.Equal(t, r.bus.Stats()[0].Restarts, uint64(1))
		assert.Equal(t, r.bus.Stats()[1].Restarts, uint64(0))
	})
}

// A driver that reboots in a loop does not fill the log.
func TestLogIsBounded(t *testing.T) {
	f := newFrontEnd(newRig(t, newRegion(t), nil).start(), virtioExp, 0)
	for range 100 {
		f.boot()
		f.rest()
	}
	lines := strings.Count(f.log.String(), "\n")
	assert.Assert(t, lines < 3*sayBurst, "%d lines", lines)
	assert.Equal(t, f.bus.Stats()[0].Restarts, uint64(99))
}

// A queue that is asked for while the device is live is let in between two requests, if the
// device can go on from its used rings; else it is refused.
func TestQueueAddedToALiveDevice(t *testing.T) {
	for _, loose := range []bool{false, true} {
		r := newRig(t, newRegion(t), nil, &toy{queues: 2, id: 0x4001, loose: loose}).start()
		f := newFrontEnd(r, zephyr2021, 0)
		f.lax = true
		f.hello(PageSize)
		assert.Assert(t, f.ask(request{f.pfn(0), 0, uint32(f.nums[0])}, PageSize))
		f.acked[0] = true
		f.mustServe(0)
		if loose {
			f.refused(request{f.pfn(1), 1, uint32(f.nums[1])}, PageSize, "in order")
			continue
		}
		f.ask(request{f.pfn(1), 1, uint32(f.nums[1])}, PageSize)
		f.until("the acknowledgement", func() bool { return f.get(RegQueuePFN) == QueueAck })
		f.acked[1] = true
		f.more()
		assert.Equal(t, r.bus.Stats()[0].Restarts, uint64(0))
	}
}
