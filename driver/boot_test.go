package driver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// What each deployed front-end does to a fresh header with two queues, as traced and as read in
// its source: every store to a register with its value, and every doorbell. These lists were
// written from docs/protocol.md, not from the code.
var bringUps = map[driver.Dialect][]string{
	driver.VirtioExp: {
		"070=1", "ring", "028=4096",
		"070=2", "ring",
		"014=0", "020=20000001", "ring",
		"030=0", "030=0", "038=8", "03c=4096", "040=37001", "ring", "ack?", "040=37001",
		"030=1", "030=1", "038=8", "03c=4096", "040=37003", "ring", "ack?", "040=37003",
		"070=4", "ring",
		"050=0", "ring", "050=1", "ring",
	},
	driver.Zephyr2021: {
		"070=1", "ring", "028=4096",
		"070=2", "ring",
		"014=0", "020=20000001", "ring",
		"030=0", "030=0", "038=8", "ring", "03c=4096", "040=37001", "ring", "ack?",
		"030=1", "030=1", "038=8", "ring", "03c=4096", "040=37003", "ring", "ack?",
		"070=4", "ring",
		"050=0", "ring", "050=1", "ring",
	},
	driver.V2025: {
		"070=1", "ring", "028=4096",
		"070=3", "ring",
		"014=0", "020=20000001", "ring",
		"030=0", "030=0", "038=8", "03c=4096", "040=37001", "ring", "ack?", "040=37001",
		"030=1", "030=1", "038=8", "03c=4096", "040=37003", "ring", "ack?", "040=37003",
		"070=7", "ring",
		"050=0", "ring", "050=1", "ring",
	},
}

// value is how a register's value stands in the lists.
func value(reg uint64, v uint32) string {
	switch reg {
	case atPFN, atDriver:
		return fmt.Sprintf("%03x=%x", reg, v)
	}
	return fmt.Sprintf("%03x=%d", reg, v)
}

// driverWords are the registers a driver writes.
var driverWords = []uint64{0x14, atDriver, 0x24, atGuestPage, atSel, atNum, atAlign, atPFN, 0x44, atNotify, atACK, atStatus}

// watch does a step and says what it did to the window: the words of the driver are poisoned
// before, so that a store of the value that is there already shows as well.
func (f *fake) watch(s driver.Step) (did []string) {
	const poison = 0x50000000
	wait := strings.HasPrefix(s.Name, "wait ack")
	before := map[uint64]uint32{}
	for _, reg := range driverWords {
		before[reg] = f.mem.Load32(reg)
		if !wait {
			f.mem.Store32(reg, poison|before[reg])
		}
	}
	if wait {
		before[atPFN] = ackWord
		f.mem.Store32(atPFN, ackWord)
		did = append(did, "ack?")
	}
	rung := f.line.rung.Load()
	assert.NilError(f.t, s.Do(bounded(f.t)))
	for reg := uint64(0); reg < 0x100; reg += 4 {
		was, ours := before[reg]
		if !ours {
			continue
		}
		now := f.mem.Load32(reg)
		switch {
		case wait && now != was:
			did = append(did, value(reg, now))
		case !wait && now != poison|was:
			did = append(did, value(reg, now&^poison))
			was = now &^ poison
		case !wait && reg == atStatus && strings.HasPrefix(s.Name, "Status|="):
			did = append(did, value(reg, was)) // added what was there
		}
		f.mem.Store32(reg, was)
	}
	for range f.line.rung.Load() - rung {
		did = append(did, "ring")
	}
	return did
}

func TestBoot_Trace(t *testing.T) {
	for dialect, want := range bringUps {
		t.Run(dialect.String(), func(t *testing.T) {
			f := newFake(t, 4)
			f.mem.Store32(atFeatures, 0x30000001)
			d := f.find(driver.Options{Dialect: dialect, NoLoad: true}, virtio.IDEntropy)
			steps, err := d.Boot(driver.Config{Sizes: []uint16{8, 8}, Features: virtio.FeatureSet(0, 5, 29)})
			assert.NilError(t, err)
			var all []string
			for _, s := range steps {
				did := f.watch(s)
				assert.Equal(t, len(did), 1, "%s did %q", s.Name, did)
				all = append(all, did...)
			}
			assert.DeepEqual(t, all, want)
			assert.Equal(t, d.Negotiated(), virtio.FeatureSet(0, 29))
		})
	}
}

func TestBoot_StepNames(t *testing.T) {
	for dialect, want := range map[driver.Dialect]string{
		driver.VirtioExp: "zero ring 0|Status=1|ring|GuestPageSize|Status=2|ring|DeviceFeaturesSel=0|DriverFeatures|ring|" +
			"QueueSel=0|QueueSel=0|QueueNum=0|QueueAlign=0|QueuePFN=0|ring|wait ack 0|rewrite PFN 0|Status=4|ring|QueueNotify=0|ring",
		driver.Zephyr2021: "zero ring 0|Status=1|ring|GuestPageSize|Status=2|ring|DeviceFeaturesSel=0|DriverFeatures|ring|" +
			"QueueSel=0|QueueSel=0|QueueNum=0|ring|QueueAlign=0|QueuePFN=0|ring|wait ack 0|Status=4|ring|QueueNotify=0|ring",
		driver.V2025: "zero ring 0|Status|=1|ring|GuestPageSize|Status|=2|ring|DeviceFeaturesSel=0|DriverFeatures|ring|" +
			"QueueSel=0|QueueSel=0|QueueNum=0|QueueAlign=0|QueuePFN=0|ring|wait ack 0|rewrite PFN 0|Status|=4|ring|QueueNotify=0|ring",
	} {
		d := newFake(t, 4).find(driver.Options{Dialect: dialect}, virtio.IDEntropy)
		steps, err := d.Boot(driver.Config{Sizes: []uint16{0}})
		assert.NilError(t, err)
		var names []string
		for _, s := range steps {
			names = append(names, s.Name)
		}
		assert.Equal(t, strings.Join(names, "|"), want)
	}
}

// The dialect of 2025 adds to what a boot before it left in Status.
func TestBoot_V2025KeepsStatus(t *testing.T) {
	f := newFake(t, 4)
	f.mem.Store32(atStatus, 7)
	d := f.find(driver.Options{Dialect: driver.V2025}, virtio.IDEntropy)
	steps, err := d.Boot(driver.Config{Sizes: []uint16{0}})
	assert.NilError(t, err)
	for _, s := range steps[:5] {
		assert.NilError(t, s.Do(bounded(t)))
		assert.Equal(t, f.mem.Load32(atStatus), uint32(7), s.Name)
	}
}

// F5: rings in a section that is not loaded keep their indices over a reboot of the driver.
func TestBoot_F5_NoLoad(t *testing.T) {
	for _, noLoad := range []bool{false, true} {
		f := newFake(t, 4)
		l := vring.Legacy(0x1000, 8, 4096)
		f.mem.Store32(l.Avail, 5<<16)
		f.mem.Store32(l.Used, 5<<16)
		f.live(driver.Options{NoLoad: noLoad}, driver.Config{Sizes: []uint16{8}})
		want := uint32(0)
		if noLoad {
			want = 5 << 16
		}
		assert.Equal(t, f.mem.Load32(l.Avail), want)
		assert.Equal(t, f.mem.Load32(l.Used), want)
	}
}

// The same calls put the rings at the same addresses at every boot; memory taken before moves
// them, as another image would.
func TestBoot_SameAddressesAtEachBoot(t *testing.T) {
	f := newFake(t, 4)
	pfn := func(before int) uint32 {
		d := f.find(driver.Options{}, virtio.IDEntropy)
		if before > 0 {
			_, err := d.Alloc(before)
			assert.NilError(t, err)
		}
		steps, err := d.Boot(driver.Config{Sizes: []uint16{8}})
		assert.NilError(t, err)
		for _, s := range steps {
			if s.Name == "wait ack 0" {
				break
			}
			assert.NilError(t, s.Do(bounded(t)))
		}
		return f.mem.Load32(atPFN)
	}
	assert.Equal(t, pfn(0), uint32(winAddr/4096+1))
	assert.Equal(t, pfn(0), uint32(winAddr/4096+1))
	assert.Equal(t, pfn(1), uint32(winAddr/4096+2))
}

// A back-end that never acknowledges: OpenAMP's dialects give up after 4 s, Zephyr's only with
// its caller.
func TestBoot_WaitsForTheAck(t *testing.T) {
	for dialect, want := range map[driver.Dialect]time.Duration{
		driver.VirtioExp: 4 * time.Second, driver.V2025: 4 * time.Second, driver.Zephyr2021: time.Minute,
	} {
		t.Run(dialect.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newFake(t, 4).find(driver.Options{Dialect: dialect}, virtio.IDEntropy)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began := time.Now()
				err := d.Start(ctx, driver.Config{Sizes: []uint16{0}})
				assert.ErrorContains(t, err, "rng in slot 0: wait ack 0: ")
				assert.Equal(t, time.Since(began), want)
				assert.Equal(t, errors.Is(err, driver.ErrNoAck), dialect != driver.Zephyr2021)
			})
		})
	}
}

// The acknowledgement is found after a ring, and without one.
func TestBoot_SeesTheAck(t *testing.T) {
	for _, rings := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, 4)
			d := f.find(driver.Options{}, virtio.IDEntropy)
			began := time.Now()
			time.AfterFunc(time.Second+time.Millisecond, func() {
				f.mem.Store32(atPFN, ackWord)
				if rings {
					f.line.Wake()
				}
			})
			assert.NilError(t, d.Start(t.Context(), driver.Config{Sizes: []uint16{0}}))
			late := time.Since(began) - time.Second - time.Millisecond
			assert.Assert(t, late == 0 || !rings && late < 20*time.Millisecond, "%v later", late)
		})
	}
}

func TestBoot_Refuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(*fake)
		sizes []uint16
		want  string
	}{
		{"no queue", nil, nil, "no queue asked for"},
		{"not a power of two", nil, []uint16{4, 12}, "queue 1: size 12"},
		{"beyond the maximum", nil, []uint16{512}, "up to the device's 256"},
		{"version 2", func(f *fake) { f.mem.Store32(4, 2) }, []uint16{4}, "version 2"},
		{"no memory", func(f *fake) { f.mem.Store32(0x34, 32768) }, []uint16{32768, 32768}, "queue 1: ring of 856070 bytes: no memory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, 4)
			d := f.find(driver.Options{}, virtio.IDEntropy)
			if tt.setup != nil {
				tt.setup(f)
			}
			_, err := d.Boot(driver.Config{Sizes: tt.sizes})
			assert.ErrorContains(t, err, tt.want)
			assert.ErrorContains(t, err, "rng in slot 0")
			f.mem.Store32(4, 1)
			all, err := d.Alloc(winSize - 0x1000)
			assert.NilError(t, err, "rings were not given back")
			all.Free()
			_, err = d.Boot(driver.Config{Sizes: []uint16{4}})
			assert.NilError(t, err)
			_, err = d.Boot(driver.Config{Sizes: []uint16{4}})
			assert.ErrorContains(t, err, "already booted")
		})
	}
}
