package driver_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/virtio"
)

// F3: at every ring the interrupt handler stores what it read of InterruptStatus as acknowledged,
// for every device and also when it read 0, and rings for what was not 0.
func TestInterrupt_F3_Acknowledge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 4, 3, 9)
		w := f.open(driver.Options{})
		found, err := w.Probe(t.Context())
		assert.NilError(t, err)
		for _, d := range found[:2] { // the third has no driver
			_, err := d.Boot(driver.Config{Sizes: []uint16{4}})
			assert.NilError(t, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go w.Run(ctx)
		for _, tt := range []struct {
			status [3]uint32
			acks   [3]uint32
			rings  int64
		}{
			{[3]uint32{0, 0, 0}, [3]uint32{0, 0, 77}, 0},
			{[3]uint32{1, 0, 1}, [3]uint32{1, 0, 77}, 1},
			{[3]uint32{0, 2, 0}, [3]uint32{0, 2, 77}, 1},
			{[3]uint32{3, 1, 0}, [3]uint32{3, 1, 77}, 2},
		} {
			for i, s := range tt.status {
				f.mem.Store32(uint64(i)*0x200+atIS, s)
				f.mem.Store32(uint64(i)*0x200+atACK, 77)
			}
			before := f.line.rung.Load()
			f.line.Wake()
			synctest.Wait()
			for i, want := range tt.acks {
				assert.Equal(t, f.mem.Load32(uint64(i)*0x200+atACK), want)
			}
			assert.Equal(t, f.line.rung.Load()-before, tt.rings)
		}
	})
}

// Used buffers are looked at only when InterruptStatus says so, and only on rings that the
// back-end has taken: those of a boot before may look full.
func TestInterrupt_F5_StaleRings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 4)
		d := f.find(driver.Options{NoLoad: true}, virtio.IDEntropy)
		dev := f.ring(0, 4)
		dev.use(0, 1)
		dev.show(0)
		steps, err := d.Boot(driver.Config{Sizes: []uint16{4}})
		assert.NilError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go d.Window().Run(ctx)
		for _, s := range steps {
			if s.Name == "wait ack 0" {
				dev.idx = 0
				dev.show(0) // what the back-end does before it acknowledges
				f.mem.Store32(atPFN, ackWord)
			}
			assert.NilError(t, s.Do(ctx))
			f.interrupt()
			synctest.Wait()
		}
		r := &driver.Request{In: make([]byte, 1)}
		_, err = d.Queue(0).Submit(r)
		assert.NilError(t, err, "the queue has failed")
		dev.use(0, 1)
		dev.show(0)
		f.mem.Store32(atIS, 0)
		f.line.Wake()
		synctest.Wait()
		assert.Equal(t, r.Wait(canceled()), context.Canceled, "no interrupt, no look")
		f.interrupt()
		assert.NilError(t, r.Wait(ctx))
	})
}

// The driver is told of a new configuration once a generation, and never reads half of one.
func TestConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 4)
		d := f.find(driver.Options{}, virtio.IDEntropy)
		told := 0
		_, err := d.Boot(driver.Config{Sizes: []uint16{4}, ConfigChanged: func() { told++ }})
		assert.NilError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go d.Window().Run(ctx)
		for _, tt := range []struct {
			status, generation uint32
			told               int
		}{
			{0, 2, 0}, {1, 2, 0}, {2, 2, 1}, {2, 2, 1}, {3, 3, 1}, {3, 4, 2}, {2, 4, 2},
		} {
			f.mem.Store32(atGen, tt.generation)
			f.mem.Store32(atIS, tt.status)
			f.line.Wake()
			synctest.Wait()
			assert.Equal(t, told, tt.told)
		}

		var b [4]byte
		f.mem.Store32(0x100, 0x64636261)
		assert.NilError(t, d.ReadConfig(b[:3], 1))
		assert.Equal(t, string(b[:3]), "bcd")
		assert.NilError(t, d.ReadConfig(nil, 256))
		f.mem.Store32(atGen, 5)
		assert.ErrorContains(t, d.ReadConfig(b[:], 0), "rng in slot 0: configuration space never stood still")
		for _, off := range []int{-1, 253, 257} {
			assert.ErrorContains(t, d.ReadConfig(b[:], off), "outside")
		}
	})
}

// A line that brings no rings makes looks, not interrupts: only one that found something is
// answered, or two sides that poll would ring each other for ever.
func TestInterrupt_Polling(t *testing.T) {
	f := newFake(t, 4)
	line, err := notify.NewPoll(time.Microsecond, 10*time.Microsecond, f.line.Raise)
	assert.NilError(t, err)
	defer line.Close()
	looks := &countLooks{Line: line, made: make(chan struct{}, 100)}
	w := open(t, driver.Options{Region: f.region, Line: looks})
	d, err := w.Find(bounded(t), virtio.IDEntropy, 0)
	assert.NilError(t, err)
	steps, err := d.Boot(driver.Config{Sizes: []uint16{4}})
	assert.NilError(t, err)
	for _, s := range steps {
		if s.Name == "wait ack 0" {
			f.mem.Store32(atPFN, ackWord)
		}
		assert.NilError(t, s.Do(bounded(t)))
	}
	f.mem.Store32(atIS, 1)
	f.mem.Store32(atACK, 77)
	rung := f.line.rung.Load()
	run(t, w)
	for range cap(looks.made) {
		<-looks.made
	}
	assert.Equal(t, f.line.rung.Load(), rung)
	assert.Equal(t, f.mem.Load32(atACK), uint32(77))
	assert.Equal(t, looks.busy.Load(), int64(0))
	assert.NilError(t, w.Close())
}

// countLooks leaves a token for each look that was made, and counts those that found something.
type countLooks struct {
	notify.Line
	made chan struct{}
	busy atomic.Int64
}

func (l *countLooks) Wait() error {
	select {
	case l.made <- struct{}{}:
	default:
	}
	return l.Line.Wait()
}

func (l *countLooks) Busy() { l.busy.Add(1) }
