package hvl2

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/virtio"
)

// counting is a device whose configuration is a number, twice: as it is and inverted. It can be
// written.
type counting struct {
	toy
	n       atomic.Uint64
	session chan *virtio.Session
}

func newCounting() *counting {
	d := &counting{toy: *inOrder(), session: make(chan *virtio.Session, 1)}
	d.info.ConfigLen = 14
	d.config = func(p []byte, off int) {
		var all [16]byte
		binary.LittleEndian.PutUint64(all[:], d.n.Load())
		binary.LittleEndian.PutUint64(all[8:], ^d.n.Load())
		copy(p, all[off:])
	}
	d.serve = func(ctx context.Context, s *virtio.Session) error {
		d.session <- s
		return s.Queue(0).Handle(ctx, echo)
	}
	return d
}

func (d *counting) WriteConfig(p []byte, off int) error {
	var all [8]byte
	binary.LittleEndian.PutUint64(all[:], d.n.Load())
	copy(all[off:], p)
	d.n.Store(binary.LittleEndian.Uint64(all[:]))
	return nil
}

// configuration is what the driver reads, checked.
func (r *rig) configuration() uint64 {
	r.t.Helper()
	var all [16]byte
	r.page.ReadAt(all[:14], RegConfig)
	n := binary.LittleEndian.Uint64(all[:])
	binary.LittleEndian.PutUint16(all[14:], uint16(^n>>48))
	assert.Equal(r.t, binary.LittleEndian.Uint64(all[8:]), ^n)
	return n
}

func TestCFG_01_ConfigurationBeforeFeaturesOK(t *testing.T) {
	d := newCounting()
	d.n.Store(0x1122334455667788)
	r := newRig(t, d)
	assert.Equal(t, r.configuration(), uint64(0x1122334455667788))
	r.attach()
	d.n.Store(42) // nobody is told while no session lasts: the next transaction shows it
	r.must(RegStatus, 1)
	assert.Equal(t, r.configuration(), uint64(42))
	assert.Equal(t, r.load(OffConfigSize), uint32(14))
	assert.Equal(t, r.load(RegConfig+16), uint32(0))
}

// change is a change on the device's side and what the slot makes of it.
func (r *rig) change(d *counting, s *virtio.Session, n uint64) {
	r.t.Helper()
	d.n.Store(n)
	conf := r.load(OffConfigEvents)
	s.ConfigChanged()
	r.until("the event", func() bool { return r.load(OffConfigEvents) != conf })
}

func TestCFG_02_GenerationMovesWithTheConfiguration(t *testing.T) {
	d := newCounting()
	r := newRig(t, d)
	r.up(1)
	s := <-d.session
	for n := range uint64(10) {
		g := r.load(RegConfigGeneration)
		r.change(d, s, n<<60|n)
		assert.Equal(t, r.configuration(), n<<60|n)
		assert.Assert(t, n == 0 || r.load(RegConfigGeneration) != g)
		assert.Equal(t, r.load(RegConfigGeneration)&1, uint32(0))
	}
}

func TestCFG_03_ChangeIsAnEvent(t *testing.T) {
	d := newCounting()
	r := newRig(t, d)
	r.up(1)
	used, rings := r.load(OffUsedEvents), r.rings.Load()
	r.change(d, <-d.session, 7)
	assert.Equal(t, r.load(OffConfigEvents), r.load(OffConfigSeen)+1)
	assert.Equal(t, r.load(OffUsedEvents), used)
	assert.Assert(t, r.rings.Load() > rings)
}

func TestMMIO_15_GenerationIsOddMeanwhile(t *testing.T) {
	d := newCounting()
	r := newRig(t, d)
	r.up(1)
	odd, seen := 0, map[uint32]uint32{}
	d.n.Store(^uint64(0))
	r.slot.hook = func() {
		g, v := r.load(RegConfigGeneration), r.load(RegConfig)
		if g&1 != 0 {
			odd++
			return
		}
		if was, ok := seen[g]; ok && was != v {
			t.Errorf("generation %d has %#x and %#x", g, was, v)
		}
		seen[g] = v
	}
	d.configChanged()
	r.until("the event", func() bool { return r.load(OffConfigEvents) != r.load(OffConfigSeen) })
	assert.Equal(t, odd, 5, "four words and the end")
	assert.Equal(t, len(seen), 2)
}

func (d *counting) configChanged() {
	s := <-d.session
	s.ConfigChanged()
}

func TestMMIO_16_FieldsByTheirWidth(t *testing.T) {
	d := newCounting()
	r := newRig(t, d)
	r.up(1)
	r.must(RegConfig+7, 0x88, 1)
	r.must(RegConfig+6, 0x77, 1)
	r.must(RegConfig+4, 0x6655, 2)
	r.must(RegConfig, 0x44332211)
	assert.Equal(t, r.configuration(), uint64(0x8877665544332211), "shown when it is acknowledged")
	for width, v := range map[uint64]uint32{4: 0x44332211, 2: 0x2211, 1: 0x11} {
		var p [4]byte
		r.page.ReadAt(p[:width], RegConfig)
		assert.Equal(t, binary.LittleEndian.Uint32(p[:]), v)
	}
}

func TestDRV_28_ConfigurationThatCannotBeWritten(t *testing.T) {
	d := newCounting()
	r := newRig(t, d)
	r.up(1)
	for _, w := range [][2]uint32{{RegConfig + 12, 4}, {RegConfig + 14, 1}, {RegConfig + 14, 2}, {OffIdent - 4, 4}} {
		assert.Equal(t, r.write(w[0], 0xffffffff, w[1]), Refused, "%#x", w[0])
	}
	assert.Equal(t, r.configuration(), uint64(0))
	ro := inOrder()
	ro.info.ConfigLen = 8
	r = newRig(t, ro)
	r.up(1)
	assert.Equal(t, r.write(RegConfig, 1), Refused)
	assert.Equal(t, r.load(RegConfig), uint32(0))
}

// The reader is the driver of section 7, beside a slot that never stops changing.
func TestHVL_06_NoTornConfiguration(t *testing.T) {
	d := newCounting()
	r := newRig(t, d)
	r.up(1)
	s := <-d.session
	r.slot.hook = runtime.Gosched // let the reader in between any two stores
	var done atomic.Bool
	torn := make(chan int)
	go func() {
		n := 0
		defer func() { torn <- n }()
		for !done.Load() {
			g := r.load(RegConfigGeneration)
			if g&1 != 0 {
				continue
			}
			lo, hi, inv := r.load(RegConfig), r.load(RegConfig+4), r.load(RegConfig+8)
			for r.load(RegConfigGeneration)&1 != 0 {
			}
			if r.load(RegConfigGeneration) == g && (lo != ^inv || hi != lo) {
				n++
			}
		}
	}()
	for n := range uint64(3000) {
		r.change(d, s, n|n<<32)
	}
	done.Store(true)
	assert.Equal(t, <-torn, 0)
}

func TestNewChecksTheConfiguration(t *testing.T) {
	b := inOrder()
	b.info.ConfigLen = ConfigSize + 1
	r := newRig(t, inOrder())
	_, err := New("toy", b, r.opts)
	assert.Assert(t, is.ErrorContains(err, "does not fit"))
}
