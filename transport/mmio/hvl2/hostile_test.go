package hvl2

import (
	"math/rand/v2"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
)

// scribble lets a driver store on every word that is the device's.
func (r *rig) scribble(v uint32) {
	for off := uint64(0); off < PageSize; off += 4 {
		if off < OffTxnSeq || off >= recState {
			r.store(off, v)
		}
	}
}

func TestHVL_01_OnlyTheShadowCounts(t *testing.T) {
	d := newCounting()
	r := newRig(t, d)
	r.up(1)
	s := <-d.session
	r.q(0).mustServe()
	used := r.load(OffUsedEvents)
	seq := r.load(OffTxnSeq)
	r.scribble(0x11111111)
	r.q(0).mustServe()
	assert.Equal(t, r.load(OffUsedEvents), used+1, "counted in private")
	r.store(OffTxnVal, 0)
	r.store(OffTxnCmd, Command(RegQueueSel, 4))
	r.store(OffTxnSeq, seq+1)
	r.ring()
	assert.Equal(t, r.load(OffTxnAck), seq+1)
	assert.Equal(t, r.load(RegQueueReady), uint32(1))
	s.ConfigChanged()
	d.n.Store(5)
	s.ConfigChanged()
	r.until("the configuration", func() bool { return r.load(RegConfig) == 5 })
	r.up(1)
	r.q(0).mustServe()
}

func TestDRV_29_DeviceWordsOverwritten(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(2)
	epoch := r.slot.epoch
	for _, v := range []uint32{0xffffffff, 1, 0x40} {
		seq := r.load(OffTxnSeq)
		r.scribble(v)
		r.q(0).mustServe()
		r.q(1).mustServe()
		r.ring()
		assert.Equal(t, r.load(OffTxnSeq), seq)
		r.store(OffTxnCmd, Command(RegStatus, 4))
		r.store(OffTxnVal, 0)
		r.store(OffTxnSeq, seq+1)
		r.ring()
		r.until("acknowledgement", r.acked)
		r.up(2)
	}
	assert.Equal(t, r.slot.epoch, epoch, "all that concerns nobody")
	// What was scribbled is read once, by a successor, and believed no more than a driver.
	r.scribble(0x5a5a5a5a)
	r.restart(inOrder())
	r.up(2)
	r.q(0).mustServe()
}

// What a successor finds was written by somebody else.
func TestDRV_29_RecordOverwritten(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		r := newRig(t, redoing())
		r.up(2)
		r.q(0).mustServe()
		r.kill()
		for range 1 + rnd.IntN(4) {
			off := recState + 4*rnd.Uint64N((recQueues+2*queueStride-recState)/4)
			r.store(off, r.load(off)^1<<rnd.UintN(32))
		}
		r.store(RegStatus, r.load(RegStatus)^uint32(rnd.UintN(3)))
		words := r.slot.inflight[0].words
		words.Store32(4*rnd.Uint64N(ringSize), rnd.Uint32N(0x40000))
		assert.NilError(t, r.slot.Start())
		r.ring()
		r.vqs = nil
		r.up(2)
		r.q(0).mustServe()
	}
}

func TestDRV_34_HostileTransactions(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	r := newRig(t, newCounting())
	regs := []uint32{RegStatus, RegStatus, RegQueueSel, RegQueueSize, RegQueueReady, RegQueueReset, RegQueueDescLow, RegQueueDriverLow,
		RegQueueDeviceLow, RegDriverFeatures, RegDriverFeaturesSel, RegConfig, RegConfig + 13, OffTxnAck}
	values := []uint32{0, 0, 1, 3, 11, 15, 2, 8, 64, base + memOff, base + memOff + 0x1000, base + memOff + 0x2000, ^uint32(0)}
	for range 20000 {
		cmd, val := Command(regs[rnd.IntN(len(regs))], 4), values[rnd.IntN(len(values))]
		if rnd.IntN(8) == 0 {
			cmd, val = rnd.Uint32(), rnd.Uint32()
		}
		r.store(OffTxnCmd, cmd)
		r.store(OffTxnVal, val)
		r.store(OffTxnSeq, rnd.Uint32())
		r.ring()
	}
	r.until("the last acknowledgement", r.acked)
	r.up(1)
	r.q(0).mustServe()
}

// FuzzPage plays any words of the driver's, and any page for a successor to find.
func FuzzPage(f *testing.F) {
	f.Add([]byte{0, 0x70, 0, 4, 0, 0}, false)
	f.Add([]byte{0x70, 0, 0, 0x70, 1, 0, 0x70, 3, 0, 0x44, 1, 0, 0xc0, 1, 0}, true)
	f.Fuzz(func(t *testing.T, words []byte, scribbled bool) {
		var b = redoing()
		b.info.ConfigLen = 8
		r := newRig(t, b)
		r.attach()
		r.prepare(1)
		for len(words) >= 3 {
			reg, val := uint32(words[0])|uint32(words[2])>>7<<8, uint32(words[1])
			width := uint32(4)
			if words[2]&0x40 != 0 {
				width = uint32(words[2] & 0xf)
			}
			switch words[2] & 0x30 {
			case 0x10:
				val = base + memOff + val<<8
			case 0x20:
				r.store(uint64(words[0])<<2, val) // of the device's own words
			case 0x30:
				val *= 0x01010101
			}
			r.store(OffTxnCmd, Command(reg, width))
			r.store(OffTxnVal, val)
			r.store(OffTxnSeq, r.load(OffTxnSeq)+1)
			r.ring()
			words = words[3:]
		}
		r.kill()
		if scribbled {
			r.store(recQueues+recDesc, ^uint32(0))
			r.store(recDriver, ^uint32(0))
		}
		assert.NilError(t, r.slot.Start())
		r.ring()
		r.vqs = nil
		r.up(1)
		r.q(0).mustServe()
	})
}

func TestNewRefusesWhatCannotBeServed(t *testing.T) {
	region := shmem.NewHeap(winSize)
	for want, change := range map[string]func(*Options){
		"needs a region":     func(o *Options) { o.Region = nil },
		"functions to ring":  func(o *Options) { o.Ring = nil },
		"version 4":          func(o *Options) { o.Version = 4 },
		"offset of the page": func(o *Options) { o.Place.SlotOff = 0x2010 },
		"slot page":          func(o *Options) { o.Place.SlotOff = winSize },
		"size of the memory": func(o *Options) { o.Place.MemSize = 12 },
		"is empty":           func(o *Options) { o.Place.MemSize = 0 },
		"within 32 bits":     func(o *Options) { o.Place.InflightOff = 3 },
		"in the driver's":    func(o *Options) { o.Place.InflightOff = memOff },
		"outside":            func(o *Options) { o.Place.MemSize = winSize },
		"wraps around":       func(o *Options) { o.Place.AddrBase = 1<<64 - 0x1000 },
	} {
		o := Options{Region: region, Place: place(), Ring: func() {}, Wake: func() {}}
		change(&o)
		_, err := New("toy", inOrder(), o)
		assert.ErrorContains(t, err, want)
	}
	many := inOrder()
	many.info.Queues = make([]uint16, 55)
	o := Options{Region: region, Place: place(), Ring: func() {}, Wake: func() {}}
	_, err := New("toy", many, o)
	assert.ErrorContains(t, err, "room for 54")
	o.Place.SlotSize, o.Place.InflightSize = 2*PageSize, 0
	_, err = New("toy", many, o)
	assert.NilError(t, err)
}
