package driver_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/virtio"
)

// The bring-up of docs/hvl-v2.md, "Worked example", with every feature word.
func TestPage_Trace(t *testing.T) {
	f := newFakePage(t, 1)
	d := f.started(driver.Config{Features: virtio.FeatureSet(virtio.EventIdx, 5)})
	assert.Equal(t, strings.Join(f.log, " "), "070=0 070=1 070=3 "+
		"014=0 014=1 014=2 014=3 "+
		"024=0 020=20000000 024=1 020=13 024=2 020=0 024=3 020=0 070=b "+
		"030=0 038=8 080=50000000 084=0 090=50000080 094=0 0a0=500000c0 0a4=0 044=1 "+
		"070=f")
	assert.Equal(t, d.Negotiated(), virtio.FeatureSet(virtio.EventIdx, virtio.Version1, virtio.AccessPlatform, virtio.OrderPlatform))
	assert.Equal(t, f.page.Load32(pgUsedSeen), uint32(5))
}

// A driver rings before it waits for its predecessor's transaction, and writes none of its own
// before that is answered.
func TestPage_Drain(t *testing.T) {
	f := newFakePage(t, 1)
	f.page.Store32(pgSeq, 0x12)
	f.page.Store32(pgCmd, 0x40030)
	f.page.Store32(pgVal, 7)
	d := f.find()
	rung := f.line.rung.Load()
	steps, err := d.Boot(driver.Config{Sizes: []uint16{8}})
	assert.NilError(t, err)
	assert.Equal(t, steps[0].Name, "drain")
	assert.NilError(t, steps[0].Do(bounded(t)))
	assert.Equal(t, f.line.rung.Load(), rung+1)
	assert.DeepEqual(t, f.log, []string{"030=7"})
	assert.NilError(t, steps[1].Do(bounded(t)))
	assert.DeepEqual(t, f.log, []string{"030=7", "070=0"})
	assert.Equal(t, f.page.Load32(pgSeq), uint32(0x13))
}

func TestPage_DrainWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakePage(t, 1)
		f.mute.Store(true)
		f.page.Store32(pgSeq, 0x12)
		f.page.Store32(pgCmd, 0x40030)
		d := f.find()
		done := make(chan error, 1)
		go func() { done <- d.Start(t.Context(), driver.Config{Sizes: []uint16{8}}) }()
		time.Sleep(time.Second)
		assert.Equal(t, f.page.Load32(pgSeq), uint32(0x12), "written over a predecessor's transaction")
		assert.Equal(t, f.page.Load32(pgCmd), uint32(0x40030), "written over a predecessor's transaction")
		f.mute.Store(false)
		f.rung()
		assert.NilError(t, <-done)
	})
}

// A driver stores to its own five words, and to no other of the page, whatever it does.
func TestHVL_01_WordsHaveOneWriter(t *testing.T) {
	f := newFakePage(t, 1)
	d := f.started(driver.Config{})
	done := make(chan error, 1)
	go func() {
		_, err := d.Queue(0).Do(bounded(t), []byte("question"), nil)
		done <- err
	}()
	r := f.ringOf(0)
	until(t, func() bool { return r.availIdx() != 0 })
	r.use(0, 0)
	r.show(0)
	f.event(pgUsedEvents)
	assert.NilError(t, <-done)
	assert.NilError(t, d.ReadConfig(make([]byte, 8), 0))
	assert.NilError(t, d.WriteConfig(bounded(t), []byte{1}, 0))
	for off := uint64(0); off < 0x1000; off += 4 {
		switch off {
		case pgSeq, pgCmd, pgVal, pgUsedSeen, pgConfigSeen:
			continue
		}
		want, stored := f.shadow.Load(off)
		if !stored {
			want = uint32(0)
		}
		assert.Equal(t, f.page.Load32(off), want, "word %#x", off)
	}
}

// Memory that was given to the device is given to nobody else before a reset is acknowledged.
func TestHVL_03_MemoryAfterTheReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakePage(t, 1)
		d := f.started(driver.Config{})
		free := func() bool {
			b, err := d.Alloc(memBytes)
			if err == nil {
				b.Free()
			}
			return err == nil
		}
		r := driver.Request{In: make([]byte, 100)}
		_, err := d.Queue(0).Submit(&r)
		assert.NilError(t, err)
		f.mute.Store(true)
		assert.ErrorIs(t, d.Reset(t.Context()), driver.ErrNoAnswer)
		assert.ErrorIs(t, r.Wait(t.Context()), driver.ErrReset)
		assert.Assert(t, !free(), "memory of a device that has not let go was given away")
		_, err = d.Queue(0).Submit(&r)
		assert.ErrorIs(t, err, driver.ErrReset)
		f.mute.Store(false)
		f.rung()
		assert.NilError(t, d.Reset(t.Context()))
		assert.Assert(t, free(), "memory was lost")
	})
}

// An event between the handler's look and its acknowledgement has the handler come again: no
// event is lost, though rings merge.
func TestHVL_05_NoEventIsLost(t *testing.T) {
	f := newFakePage(t, 1)
	d := f.started(driver.Config{Sizes: []uint16{256}})
	run(t, d.Window())
	const rounds = 20000
	answered := make(chan struct{}, 1)
	r := f.ringOf(0)
	var request driver.Request
	request.In = make([]byte, 8)
	request.Done = func(*driver.Request) { answered <- struct{}{} }
	stop := make(chan struct{})
	noise := make(chan struct{})
	go func() { // events of something else
		defer close(noise)
		for {
			select {
			case <-stop:
				return
			default:
				f.event(pgConfigEvents)
			}
		}
	}()
	for range rounds {
		_, err := d.Queue(0).Submit(&request)
		assert.NilError(t, err)
		r.use(0, 8)
		r.show(0)
		f.event(pgUsedEvents)
		recv(t, answered)
	}
	close(stop)
	<-noise
	until(t, func() bool {
		return f.page.Load32(pgConfigSeen) == f.page.Load32(pgConfigEvents) && f.page.Load32(pgUsedSeen) == f.page.Load32(pgUsedEvents)
	})
}

// A handler starts no transaction, and acknowledges each of the two counters by itself.
func TestPage_HandlerAcknowledges(t *testing.T) {
	f := newFakePage(t, 1)
	changed := make(chan struct{}, 10)
	d := f.started(driver.Config{ConfigChanged: func() { changed <- struct{}{} }})
	seq := f.page.Load32(pgSeq)
	run(t, d.Window())
	f.page.Store32(0xfc, 2)
	f.event(pgConfigEvents)
	recv(t, changed)
	assert.Equal(t, f.page.Load32(pgConfigSeen), uint32(1))
	assert.Equal(t, f.page.Load32(pgUsedSeen), uint32(5))
	f.event(pgUsedEvents)
	until(t, func() bool { return f.page.Load32(pgUsedSeen) == 6 })
	assert.Equal(t, f.page.Load32(pgConfigSeen), uint32(1))
	assert.Equal(t, f.page.Load32(pgSeq), seq)
}

func TestHVL_06_ConfigIsOfOneGeneration(t *testing.T) {
	const size = 0x400
	f := newFakePage(t, 1)
	f.page.Store32(0x860, size)
	d := f.started(driver.Config{})
	var stop atomic.Bool
	done := make(chan struct{})
	defer func() { stop.Store(true); <-done }()
	go func() {
		defer close(done)
		for v := uint32(1); !stop.Load(); v++ {
			g := f.page.Load32(0xfc)
			f.page.Store32(0xfc, g+1)
			for off := uint64(0); off < size; off += 4 {
				f.page.Store32(0x100+off, v)
			}
			f.page.Store32(0xfc, g+2)
			for range 2000 { // a writer without rest has no reader
				_ = f.page.Load32(0xfc)
			}
		}
	}()
	for range 5000 {
		var b [size]byte
		assert.NilError(t, d.ReadConfig(b[:], 0))
		assert.Assert(t, bytes.Equal(b[4:], b[:size-4]), "of two generations: %x", b)
	}
}

// Every wait has an end: three seconds without a sign of life, a minute with one.
func TestHVL_08_BoundedWaits(t *testing.T) {
	for _, tt := range []struct {
		name string
		beat time.Duration
		want time.Duration
	}{{"dead", 0, 3 * time.Second}, {"slow", 500 * time.Millisecond, time.Minute}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakePage(t, 1)
				d := f.started(driver.Config{})
				f.mute.Store(true)
				ctx, stop := context.WithCancel(t.Context())
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					for tt.beat > 0 && ctx.Err() == nil {
						time.Sleep(tt.beat)
						f.page.Store32(pgBeat, f.page.Load32(pgBeat)+1)
					}
				}()
				defer func() { stop(); <-gone }()
				began := time.Now()
				assert.ErrorIs(t, d.Start(t.Context(), driver.Config{Sizes: []uint16{8}}), driver.ErrNoAnswer)
				late := time.Since(began) - tt.want
				assert.Assert(t, late >= 0 && late < 50*time.Millisecond, "%v later", late)
				// The transaction is never withdrawn: nothing is written over it.
				seq := f.page.Load32(pgSeq)
				assert.ErrorIs(t, d.WriteConfig(t.Context(), []byte{1}, 0), driver.ErrDetached)
				assert.Equal(t, f.page.Load32(pgSeq), seq)
				f.mute.Store(false)
				f.rung()
				assert.NilError(t, d.Start(t.Context(), driver.Config{Sizes: []uint16{8}}))
			})
		})
	}
	t.Run("odd generation", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFakePage(t, 1)
			d := f.started(driver.Config{})
			f.page.Store32(0xfc, 1)
			began := time.Now()
			assert.ErrorIs(t, d.ReadConfig(make([]byte, 4), 0), driver.ErrNoAnswer)
			late := time.Since(began) - 3*time.Second
			assert.Assert(t, late >= 0 && late < 50*time.Millisecond, "%v later", late)
		})
	})
}

// DEVICE_NEEDS_RESET and a monitor without its state: every request fails, the driver is told
// once, and Start brings the device up again in memory that is used anew.
func TestPage_NeedsReset(t *testing.T) {
	f := newFakePage(t, 1)
	lost := make(chan error, 2)
	c := driver.Config{Sizes: []uint16{8}, Lost: func(err error) { lost <- err }}
	d := f.started(c)
	run(t, d.Window())
	r := &driver.Request{In: make([]byte, 1000)}
	_, err := d.Queue(0).Submit(r)
	assert.NilError(t, err)
	f.breakDown()
	assert.ErrorIs(t, r.Wait(bounded(t)), driver.ErrNeedsReset)
	assert.ErrorIs(t, recv(t, lost), driver.ErrNeedsReset)
	f.event(pgConfigEvents)
	until(t, func() bool { return f.page.Load32(pgConfigSeen) == f.page.Load32(pgConfigEvents) })
	_, err = d.Queue(0).Submit(r)
	assert.ErrorIs(t, err, driver.ErrNeedsReset)
	assert.ErrorIs(t, d.WriteConfig(bounded(t), []byte{1}, 0), driver.ErrNeedsReset)
	first := f.queues[0][0x80]
	for range 3 {
		assert.NilError(t, d.Start(bounded(t), c))
		assert.Equal(t, f.queues[0][0x80], first, "the memory of the former life is lost")
	}
	assert.Equal(t, len(lost), 0)
	_, err = d.Queue(0).Submit(r)
	assert.NilError(t, err)
}

// A bring-up whose monitor loses its state in the middle.
func TestPage_NeedsResetWhileStarting(t *testing.T) {
	for _, at := range []string{"070=3", "038=8", "044=1", "070=f"} {
		f := newFakePage(t, 1)
		d := f.find()
		f.before = func() {
			if f.log[len(f.log)-1] == at {
				f.before = nil
				f.breakDown()
			}
		}
		c := driver.Config{Sizes: []uint16{8}}
		assert.ErrorIs(t, d.Start(bounded(t), c), driver.ErrNeedsReset, at)
		assert.NilError(t, d.Start(bounded(t), c), at)
	}
}

// What a queue reset gives back is used again, the queue as well; nothing is before it is
// acknowledged.
func TestQRST_QueueReset(t *testing.T) {
	f := newFakePage(t, 2)
	d := f.started(driver.Config{Sizes: []uint16{8, 8}, Features: virtio.FeatureSet(virtio.RingReset)})
	q, other := d.Queue(0), d.Queue(1)
	requests := []*driver.Request{{In: make([]byte, 100)}, {In: make([]byte, 100)}}
	_, err := q.Submit(requests...)
	assert.NilError(t, err)
	kept := &driver.Request{In: make([]byte, 4)}
	_, err = other.Submit(kept)
	assert.NilError(t, err)
	f.log = nil
	assert.NilError(t, q.Reset(bounded(t), 4))
	for _, r := range requests {
		assert.ErrorIs(t, r.Wait(bounded(t)), driver.ErrReset)
	}
	assert.Equal(t, q.Size(), 4)
	assert.Equal(t, strings.Join(f.log, " "), "030=0 0c0=1 "+
		"038=4 080=50000000 084=0 090=50000040 094=0 0a0=50000080 0a4=0 044=1")
	_, err = q.Submit(requests...)
	assert.NilError(t, err)
	for i, n := range []uint32{100, 4} {
		r := f.ringOf(i)
		r.use(0, n)
		r.show(0)
	}
	f.event(pgUsedEvents)
	assert.NilError(t, requests[0].Wait(bounded(t)))
	assert.NilError(t, kept.Wait(bounded(t)))

	d = newFakePage(t, 1).started(driver.Config{})
	assert.ErrorIs(t, d.Queue(0).Reset(bounded(t), 0), errors.ErrUnsupported)
}

func TestPage_Refusals(t *testing.T) {
	refuse := func(entry string, result uint32) func(*fakePage) {
		return func(f *fakePage) {
			f.answer = func(reg, value uint32) (uint32, bool) { return result, f.log[len(f.log)-1] == entry }
		}
	}
	for _, tt := range []struct {
		name  string
		setup func(*fakePage)
		want  error
	}{
		{"features", func(f *fakePage) {
			f.answer = func(reg, value uint32) (uint32, bool) {
				if reg == pgStatus && value == 11 {
					f.page.Store32(pgStatus, 3)
					return 0, true
				}
				return 0, false
			}
		}, driver.ErrFeatures},
		{"status", refuse("070=1", 0), driver.ErrRefused},
		{"no register", refuse("030=0", 1), driver.ErrRefused},
		{"value", refuse("044=1", 2), driver.ErrRefused},
		{"reset first", refuse("038=8", 3), driver.ErrNeedsReset},
		{"stopped", refuse("070=0", 4), driver.ErrNeedsReset},
		{"not ready", refuse("044=1", 0), driver.ErrRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakePage(t, 1)
			d := f.find()
			tt.setup(f)
			assert.ErrorIs(t, d.Start(bounded(t), driver.Config{Sizes: []uint16{8}}), tt.want)
			f.answer = nil
			assert.NilError(t, d.Start(bounded(t), driver.Config{Sizes: []uint16{8}}))
		})
	}
	for _, tt := range []struct {
		sizes []uint16
		want  string
	}{
		{nil, "no queue asked for"},
		{[]uint16{8, 8}, "queue 1: the device's maximum is 0"},
		{[]uint16{12}, "size 12 is not a power of two"},
		{[]uint16{512}, "up to the device's 256"},
	} {
		assert.ErrorContains(t, newFakePage(t, 1).find().Start(bounded(t), driver.Config{Sizes: tt.sizes}), tt.want)
	}
}

func TestPage_ConfigWrites(t *testing.T) {
	f := newFakePage(t, 1)
	d := f.started(driver.Config{})
	f.log = nil
	assert.NilError(t, d.WriteConfig(bounded(t), []byte{1, 2, 3, 4, 5, 6, 7}, 1))
	assert.Equal(t, strings.Join(f.log, " "), "101=1/1 102=302/2 104=7060504")
	assert.ErrorContains(t, d.WriteConfig(bounded(t), []byte{1}, 8), "outside")
	assert.ErrorContains(t, d.ReadConfig(make([]byte, 9), 0), "outside")
}

func TestPage_Offered(t *testing.T) {
	f := newFakePage(t, 1)
	f.offered = [4]uint32{1, 2, 4, 8}
	d := f.find()
	got, err := d.Offered()
	assert.NilError(t, err)
	assert.Equal(t, got, virtio.FeatureSet(0, 33, 66, 99))
	assert.Equal(t, f.log[0], "070=0", "a page is attached to before anything else")
}

// A read goes on over a monitor that lost its state.
func TestPage_RNGGoesOn(t *testing.T) {
	f := newFakePage(t, 1)
	d := f.find()
	r, err := driver.StartRNG(bounded(t), d)
	assert.NilError(t, err)
	done := make(chan []byte, 1)
	go func() {
		p := make([]byte, 4)
		n, err := r.Read(p)
		assert.Check(t, err)
		done <- p[:n]
	}()
	until(t, func() bool { return f.ringOf(0).availIdx() != 0 })
	f.breakDown()
	until(t, func() bool { return f.page.Load32(pgStatus) == 15 && f.ringOf(0).availIdx() != 0 })
	u := f.ringOf(0)
	addr, _, _, _ := u.desc(u.head(0))
	f.mem.WriteAt([]byte("abcd"), addr-addrBase+memAt)
	u.use(uint32(u.head(0)), 4)
	u.show(0)
	f.event(pgUsedEvents)
	assert.Assert(t, bytes.Equal(recv(t, done), []byte("abcd")))
}

func TestDirectory(t *testing.T) {
	for _, tt := range []struct {
		name string
		word uint64
		v    uint32
		want string
	}{
		{"no directory", dirAt, 0, "has not published"},
		{"major", dirAt + 4, 0x30000, "version 0x30000"},
		{"header size", dirAt + 8, 32, "malformed"},
		{"epoch", dirAt + 0xc, 0, "malformed"},
		{"window", dirAt + 0x10, winSize + 1, "are mapped"},
		{"window, high", dirAt + 0x14, 1, "are mapped"},
		{"entries outside", dirAt + 0x18, winSize - 16, "entries"},
		{"too many", dirAt + 0x1c, 65, "65 entries"},
		{"stride", dirAt + 0x20, 28, "malformed"},
		{"required", dirAt + 0x24, 4, "0x4"},
		{"hole", entriesAt, 0, "of 0 devices"},
		{"legacy", entriesAt + 4, 1, "of 0 devices"},
		{"another type", entriesAt, 3, "says device 3, the page 4"},
		{"slot outside", entriesAt + 8, winSize, "entry 0"},
		{"slot misaligned", entriesAt + 8, pageAt + 0x200, "multiple of 4096"},
		{"slot size", entriesAt + 0xc, 0x800, "a slot of 0x800"},
		{"memory", entriesAt + 0x10, 0x20, "says memory"},
		{"memory size", entriesAt + 0x14, 0x21, "says memory"},
		{"page magic", pageAt, 0, "of 0 devices"},
		{"page version", pageAt + 4, 1, "version 1"},
		{"page device", pageAt + 8, 0, "of 0 devices"},
		{"page identity", pageAt + 0x800, 1, "identity"},
		{"page major", pageAt + 0x804, 0x10000, "0x10000"},
		{"page required", pageAt + 0x868, 1, "0x1"},
		{"page memory outside", pageAt + 0x850, winSize, "entry 0"},
		{"page in its memory", pageAt + 0x848, 0x2000, "memory of"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakePage(t, 1)
			w := f.open()
			was := f.mem.Load32(tt.word)
			f.mem.Store32(tt.word, tt.v)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			_, err := w.Find(ctx, virtio.IDEntropy, 0)
			if tt.name == "no directory" || tt.word >= pageAt && tt.v == 0 || tt.name == "hole" || tt.name == "legacy" {
				tt.want = "no rng 0 in the window"
			}
			assert.ErrorContains(t, err, tt.want)
			f.mem.Store32(tt.word, was)
			d, err := w.Find(bounded(t), virtio.IDEntropy, 0)
			assert.NilError(t, err)
			assert.NilError(t, d.Start(bounded(t), driver.Config{Sizes: []uint16{8}}))
		})
	}
}

// Higher minor versions are gone on with, larger headers and entries are stepped over.
func TestDirectory_GrowsWithMinor(t *testing.T) {
	f := newFakePage(t, 1)
	f.mem.Store32(dirAt+4, 0x20007)
	f.mem.Store32(dirAt+8, 128)
	f.mem.Store32(dirAt+0x1c, 2)
	f.mem.Store32(dirAt+0x20, 64)
	for i := range uint64(8) {
		f.mem.Store32(entriesAt+64+4*i, f.mem.Load32(entriesAt+4*i))
		f.mem.Store32(entriesAt+4*i, 0)
	}
	f.page.Store32(0x804, 0x20007)
	f.page.Store32(4, 3)
	d := f.find()
	assert.Equal(t, d.Slot(), 1)
	assert.NilError(t, d.Start(bounded(t), driver.Config{Sizes: []uint16{8}}))
}

// Legacy headers and slot pages in one window: each keeps to its own memory.
func TestDirectory_BesideATable(t *testing.T) {
	f := newFakePage(t, 1)
	f.publish(0, 3)
	f.mem.Store32(0xb0, 0x1000)
	f.mem.Store32(0xb8, winAddr+0x1000)
	w := f.open()
	devices, err := w.Probe(bounded(t))
	assert.NilError(t, err)
	assert.Equal(t, len(devices), 2)
	assert.Equal(t, devices[0].ID(), virtio.IDConsole)
	b, err := devices[0].Alloc(0x1000)
	assert.NilError(t, err)
	assert.Equal(t, b.Addr, uint64(winAddr+0x1000))
	_, err = devices[0].Alloc(1)
	assert.ErrorIs(t, err, driver.ErrNoMemory)
	b, err = devices[1].Alloc(1)
	assert.NilError(t, err)
	assert.Equal(t, b.Addr, uint64(addrBase))
}

// A directory that was written anew: the old device is gone, the new one is found.
func TestDirectory_LaidOutAnew(t *testing.T) {
	f := newFakePage(t, 1)
	w := f.open()
	old, err := w.Find(bounded(t), virtio.IDEntropy, 0)
	assert.NilError(t, err)
	f.page.Store32(0, 0)
	f.directory(2)
	assert.ErrorIs(t, old.Start(bounded(t), driver.Config{Sizes: []uint16{8}}), driver.ErrMoved)
	f.page.Store32(0, 0x74726976)
	d, err := w.Find(bounded(t), virtio.IDEntropy, 0)
	assert.NilError(t, err)
	assert.Assert(t, d != old)
	assert.NilError(t, d.Start(bounded(t), driver.Config{Sizes: []uint16{8}}))
}

// A page that only a device tree names.
func TestPage_WithoutDirectory(t *testing.T) {
	f := newFakePage(t, 1)
	f.mem.Store32(dirAt, 0)
	w := f.open()
	d, err := w.Page(pageAt)
	assert.NilError(t, err)
	assert.NilError(t, d.Start(bounded(t), driver.Config{Sizes: []uint16{8}}))
	b, err := d.Alloc(4)
	assert.NilError(t, err)
	b.WriteAt([]byte("here"), 0)
	var there [4]byte
	f.mem.ReadAt(there[:], memAt+b.Addr-addrBase)
	assert.Equal(t, string(there[:]), "here")
	again, err := w.Page(pageAt)
	assert.NilError(t, err)
	assert.Assert(t, again == d)
	_, err = w.Page(0x3000)
	assert.ErrorContains(t, err, "slot page at 0x3000")
}
