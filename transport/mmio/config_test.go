package mmio

import (
	"bytes"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
)

// writable is a device whose configuration the driver may write, save its first four bytes.
type writable struct {
	*configToy
	writes atomic.Int64
}

func (w *writable) WriteConfig(p []byte, off int) error {
	if off < 4 {
		return errors.New("read-only")
	}
	w.writes.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	copy(w.config[off:], p)
	return nil
}

func (f *frontEnd) configIs(want string) bool {
	got := make([]byte, len(want))
	f.mem.ReadAt(got, f.reg(RegConfig))
	return string(got) == want
}

// consistent changes the configuration as fast as it can while a driver reads it by its
// generation: what it reads was a configuration once.
func consistent(t *testing.T, region *shmem.Region, size, changes int) {
	t.Helper()
	toy := newConfigToy()
	toy.config = make([]byte, size)
	f := newFrontEnd(newRig(t, region, nil, toy.toy).start(), virtioExp, 0)
	f.rest()
	toy.session = <-toy.started

	var stop atomic.Bool
	reads, torn := 0, 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := make([]byte, size)
		for !stop.Load() {
			before := f.get(RegConfigGeneration)
			f.mem.ReadAt(p, f.reg(RegConfig))
			if before&1 != 0 || f.get(RegConfigGeneration) != before {
				runtime.Gosched()
				continue
			}
			reads++
			if bytes.Count(p, p[:1]) != size {
				torn++
			}
		}
	}()
	next := make([]byte, size)
	for i := range changes {
		for j := range next {
			next[j] = byte(i)
		}
		before := f.get(RegConfigGeneration)
		toy.change(next)
		for f.get(RegConfigGeneration) == before {
			runtime.Gosched()
		}
	}
	f.until("a last read", func() bool { return f.get(RegConfigGeneration)&1 == 0 })
	stop.Store(true)
	<-done
	t.Logf("%d reads", reads)
	assert.Equal(t, torn, 0, "configurations that never were")
	assert.Assert(t, reads > 0)
}

func TestCFG_02_GenerationAroundAChange(t *testing.T) {
	f, toy := liveConfig(t, nil)
	before := f.get(RegConfigGeneration)
	f.pause(pointConfig, 1)
	toy.change([]byte("changed!"))
	f.awaitPause()
	assert.Assert(t, f.configIs("changed!"))
	assert.Equal(t, f.get(RegConfigGeneration), before+1, "odd while the space is written")
	f.goOn()
	f.until("the even generation", func() bool { return f.get(RegConfigGeneration) == before+2 })
	consistent(t, newRegion(t), ConfigSize, 5_000)
}

// On Device memory the space is put in place word by word: a MAC address is two of them.
func TestHVL_06_NoTornMAC(t *testing.T) {
	if raceEnabled {
		t.Skip("both sides race on this heap memory by design")
	}
	region, _ := shmem.NewStrict(winSize, 4)
	consistent(t, region, 6, 5_000)

	region, _ = shmem.NewStrict(winSize, 4)
	toy := newConfigToy()
	toy.config = []byte{0x52, 0x54, 0, 1, 2, 3}
	f := newFrontEnd(newRig(t, region, nil, toy.toy).start(), virtioExp, 0)
	f.rest()
	toy.session = <-toy.started
	for i := range 3 {
		f.pause(pointConfig, 1)
		toy.change([]byte{0x52, 0x54, 0, 1, 2, byte(i)})
		f.awaitPause()
		assert.Equal(t, f.get(RegConfigGeneration)&1, uint32(1), "a driver that looks now looks again")
		f.goOn()
		f.until("a generation to read by", func() bool { return f.get(RegConfigGeneration)&1 == 0 })
	}
}

func TestCFG_03_ChangeIsAnnounced(t *testing.T) {
	f, toy := liveConfig(t, func(o *Options) { o.ConfigInterrupt = true })
	generation, rung := f.get(RegConfigGeneration), f.line.out.rung.Load()
	toy.change([]byte("resized!"))
	f.until("the interrupt", func() bool { return f.line.out.rung.Load() > rung })
	assert.Equal(t, f.get(RegInterruptStatus), uint32(InterruptUsed|InterruptConfig))
	assert.Assert(t, f.configIs("resized!"))
	assert.Equal(t, f.get(RegConfigGeneration), generation+2)
	// Again, with the bit still set.
	rung = f.line.out.rung.Load()
	toy.change([]byte("resized?"))
	f.until("the second interrupt", func() bool { return f.line.out.rung.Load() > rung })
	assert.Assert(t, f.configIs("resized?"))
}

// A device can tell a session that its configuration changed. Where there is none yet, the next
// driver reads the change nevertheless.
func TestCFG_03_ChangeBeforeTheDriver(t *testing.T) {
	perDialect(t, func(t *testing.T, d dialect) {
		toy := newConfigToy()
		f := newFrontEnd(newRig(t, newRegion(t), nil, toy.toy).start(), d, 0)
		toy.setConfig([]byte("earlier!"))
		f.advance() // Status=1
		f.advance() // ring
		f.settle()
		assert.Assert(t, f.configIs("earlier!"))
		f.run("Status=4")
		toy.setConfig([]byte("too late"))
		f.rest()
		f.settle()
		assert.Assert(t, f.configIs("too late"))
	})
}

func TestCFG_04_WrittenBeforeNegotiation(t *testing.T) {
	w := &writable{configToy: newConfigToy()}
	r := newRigOf(t, newRegion(t), nil, []*toy{w.toy}, w).start()
	f := newFrontEnd(r, virtioExp, 0)
	assert.Equal(t, f.get(RegStatus), uint32(0))
	f.mem.WriteAt([]byte("x"), f.reg(RegConfig)+5)
	f.line.kick()
	f.settle()
	w.mu.Lock()
	assert.Equal(t, string(w.config), "origixal")
	w.mu.Unlock()
	assert.Equal(t, w.writes.Load(), int64(1))
	for range 3 {
		f.line.kick()
		f.settle()
	}
	assert.Equal(t, w.writes.Load(), int64(1), "one store, one write")
	f.rest()
	f.mem.WriteAt([]byte("y"), f.reg(RegConfig)+7) // and while it is live
	f.line.kick()
	f.settle()
	assert.Equal(t, w.writes.Load(), int64(2))
	assert.Assert(t, f.configIs("origixay"))
}

func TestDRV_28_ReadOnlyConfigWritten(t *testing.T) {
	scribble := func(f *frontEnd) {
		f.mem.WriteAt([]byte("garbage and more of it"), f.reg(RegConfig))
		f.line.kick()
		f.settle()
	}
	t.Run("refused", func(t *testing.T) {
		w := &writable{configToy: newConfigToy()}
		r := newRigOf(t, newRegion(t), nil, []*toy{w.toy}, w).start()
		f := newFrontEnd(r, virtioExp, 0)
		f.rest()
		scribble(f)
		assert.Assert(t, f.configIs("origage "), "what was refused is put right, the rest is taken")
		assert.Equal(t, w.writes.Load(), int64(1))
		f.recovers()
	})
	t.Run("ignored", func(t *testing.T) {
		f, toy := liveConfig(t, nil)
		scribble(f)
		f.more()
		toy.mu.Lock()
		assert.Equal(t, string(toy.config), "original")
		toy.mu.Unlock()
		toy.change([]byte("changed!"))
		f.until("the change", func() bool { return f.configIs("changed!") })
		scribble(f)
		f.boot()
		f.run("QueueSel=0")
		f.settle()
		assert.Assert(t, f.configIs("changed!"), "put right for the next life")
		f.rest()
	})
}
