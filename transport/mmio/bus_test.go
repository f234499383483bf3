package mmio

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/emulator"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

func TestNewBusRefuses(t *testing.T) {
	region := newRegion(t)
	line := newTestLine()
	for _, tt := range []struct {
		name string
		opts Options
		want string
	}{
		{"no region", Options{Line: line}, "needs a region and a doorbell"},
		{"no doorbell", Options{Region: region}, "needs a region and a doorbell"},
		{"unknown layout", Options{Region: region, Line: line, Layout: 9}, "layout 9"},
		{"features nobody reads", Options{Region: region, Line: line, Offer: virtio.FeatureSet(virtio.InOrder)}, "{35}"},
		{"wraps around", Options{Region: region, Line: line, Addr: 1<<64 - PageSize}, "wraps around"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewBus(tt.opts)
			assert.ErrorContains(t, err, tt.want)
			assert.ErrorContains(t, err, "mmio: ")
		})
	}
}

func TestAddRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts Options
		toy  *toy
		mem  uint64
		want string
	}{
		{"configuration too long", Options{}, &toy{queues: 1, config: make([]byte, ConfigSize+1)}, 0, "257 bytes does not fit"},
		{"no queue", Options{}, &toy{}, 0, "at least one queue"},
		{"queue size", Options{}, &toy{queues: 1, size: 3}, 0, "maximum size 3"},
		{"window misplaced", Options{Addr: 0x37000010}, &toy{queues: 1}, 0, "multiples of 4096"},
		{"block too big", Options{Layout: Tree}, &toy{queues: 1}, winSize, "does not fit"},
		{"block not of pages", Options{Layout: Tree}, &toy{queues: 1}, 0x2100, "multiple of 4096"},
		{"block too small", Options{Layout: Tree}, &toy{queues: 1}, PageSize, "at least 8192"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.Region, tt.opts.Line = newRegion(t), newTestLine()
			bus, err := NewBus(tt.opts)
			assert.NilError(t, err)
			err = bus.Add("broken", tt.toy, tt.mem)
			assert.ErrorContains(t, err, tt.want)
			if tt.opts.Addr == 0 {
				assert.NilError(t, bus.Add("good", &toy{queues: 1}, 0), "after a refusal")
				assert.Equal(t, len(bus.Map().Places), 1)
			}
		})
	}
	t.Run("ninth header", func(t *testing.T) {
		bus, err := NewBus(Options{Region: newRegion(t), Line: newTestLine()})
		assert.NilError(t, err)
		for range tableSlots {
			assert.NilError(t, bus.Add("toy", &toy{queues: 1}, 0))
		}
		assert.ErrorContains(t, bus.Add("toy", &toy{queues: 1}, 0), "room for 8")
	})
	t.Run("no device at all", func(t *testing.T) {
		bus, err := NewBus(Options{Region: newRegion(t), Line: newTestLine()})
		assert.NilError(t, err)
		assert.ErrorContains(t, bus.Run(t.Context()), "without devices")
	})
}

// vanishing is a window whose file can be truncated.
func vanishing(t *testing.T) (*shmem.Region, string) {
	t.Helper()
	if emulator.Here() {
		t.Skip("QEMU's user mode does not tell where a fault was")
	}
	path := filepath.Join(t.TempDir(), "window")
	region, err := shmem.OpenFile(path, winSize)
	assert.NilError(t, err)
	t.Cleanup(func() { region.Close() })
	return region, path
}

// A window that vanishes under the bus ends Run with an error that names it, and the process
// lives.
func TestDRV_33_WindowVanishes(t *testing.T) {
	region, path := vanishing(t)
	f := newFrontEnd(newRig(t, region, nil).start(), virtioExp, 0)
	f.rest()
	f.quiesce()
	assert.NilError(t, os.Truncate(path, 0))
	f.line.kick()
	err := f.wait()
	var fault *shmem.FaultError
	assert.Assert(t, errors.As(err, &fault), "%v", err)
	assert.ErrorContains(t, err, path)
	assert.Assert(t, f.bus.slots[0].dev.Quiet(), "a session outlived Run")
}

func TestDRV_33_WindowVanishesUnderAWorker(t *testing.T) {
	for _, p := range []point{pointNotify, pointMemory} {
		region, path := vanishing(t)
		f := newFrontEnd(newRig(t, region, nil).start(), virtioExp, 0)
		f.rest()
		f.quiesce()
		f.put(RegInterruptStatus, 0)
		f.bus.slots[0].irq.image = 0 // so that there is something to store
		f.pause(p, 1)
		f.offer(0)
		f.line.kick()
		f.awaitPause()
		assert.NilError(t, os.Truncate(path, 0))
		f.goOn()
		f.line.kick()
		assert.ErrorContains(t, f.wait(), path)
	}
}

func TestWindowGoneAtStart(t *testing.T) {
	region, path := vanishing(t)
	r := newRig(t, region, nil)
	assert.NilError(t, os.Truncate(path, 0))
	assert.ErrorContains(t, r.bus.Run(t.Context()), path)
}

func TestStats(t *testing.T) {
	r := newRig(t, newRegion(t), nil, &toy{queues: 2, id: 0x4001}, &toy{queues: 1, id: 0x4002}).start()
	f := newFrontEnd(r, v2025, 0)
	f.rest()
	f.more()
	f.quiesce()
	st := r.bus.Stats()
	assert.Equal(t, len(st), 2)
	assert.Equal(t, st[0].Name, "toy0")
	assert.Equal(t, st[0].Status, virtio.Acknowledge|virtio.Driver|virtio.DriverOK)
	assert.Assert(t, st[0].Live)
	r.until("the counters", func() bool { return r.bus.Stats()[0].Queues[1].Chains == 2 })
	assert.Equal(t, st[1].Status, virtio.Status(0))
	assert.Equal(t, st[1].Sessions, uint64(0))
	f.boot()
	f.rest()
	assert.Equal(t, r.bus.Stats()[0].Restarts, uint64(1))
	assert.Equal(t, r.bus.Stats()[0].Sessions, uint64(2))
}

// The bus says when it found work, so that a doorbell that polls looks again soon.
func TestBusyHint(t *testing.T) {
	r := newRig(t, newRegion(t), nil)
	hint := &busyLine{testLine: r.line}
	r.bus.opts.Line = hint
	r.start()
	f := newFrontEnd(r, virtioExp, 0)
	f.line.kick()
	f.settle()
	assert.Equal(t, hint.busy(), 0, "nothing was found")
	f.run("rewrite 0")
	acked := hint.busy()
	assert.Assert(t, acked > 0, "an acknowledgement is work")
	f.rest()
	f.quiesce()
	served := hint.busy()
	for range 3 {
		f.line.kick()
		f.settle()
	}
	assert.Equal(t, hint.busy(), served, "idle again")
	r.until("the worker sleeps", func() bool {
		f.more()
		f.quiesce()
		return hint.busy() > served
	})
}

type busyLine struct {
	*testLine
	n int
}

func (l *busyLine) Busy() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
}

func (l *busyLine) busy() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func TestChatter(t *testing.T) {
	var c chatter
	now := time.Now()
	said := 0
	for range 100 {
		if ok, unsaid := c.may(now); ok {
			said++
			assert.Equal(t, unsaid, 0)
		}
	}
	assert.Equal(t, said, sayBurst)
	ok, unsaid := c.may(now.Add(sayEvery))
	assert.Assert(t, ok)
	assert.Equal(t, unsaid, 100-sayBurst)
	ok, _ = c.may(now.Add(sayEvery))
	assert.Assert(t, !ok)
}
