package driver_test

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// fake is a back-end's side of a window, done by hand: its offsets and values are those of the
// wire, not of package mmio.
type fake struct {
	t      testing.TB
	region *shmem.Region
	mem    shmem.Span
	line   *countLine
}

// countLine counts the rings to the back-end. Wait returns for each token, and fails when the
// line is lost.
type countLine struct {
	rung   atomic.Int64
	tokens chan struct{}
	lost   atomic.Bool
}

var errLost = errors.New("line lost")

func (l *countLine) Raise() error { l.rung.Add(1); return nil }
func (l *countLine) Close() error { return nil }
func (l *countLine) lose()        { l.lost.Store(true); l.Wake() }

func (l *countLine) Wait() error {
	<-l.tokens
	if l.lost.Load() {
		return errLost
	}
	return nil
}

func (l *countLine) Wake() {
	select {
	case l.tokens <- struct{}{}:
	default:
	}
}

// Offsets of a header (docs/protocol.md) that the tests name.
const (
	atFeatures  = 0x10
	atDriver    = 0x20
	atGuestPage = 0x28
	atSel       = 0x30
	atNum       = 0x38
	atAlign     = 0x3c
	atPFN       = 0x40
	atNotify    = 0x50
	atIS        = 0x60
	atACK       = 0x64
	atStatus    = 0x70
	atGen       = 0xfc
	ackWord     = 0xaabbaabb
)

// newFake publishes devices of the given types in the table layout.
func newFake(t testing.TB, ids ...uint32) *fake {
	t.Helper()
	return newFakeIn(t, shmem.NewHeap(winSize), ids...)
}

func newFakeIn(t testing.TB, region *shmem.Region, ids ...uint32) *fake {
	t.Helper()
	f := &fake{t: t, region: region, line: &countLine{tokens: make(chan struct{}, 1)}}
	mem, err := f.region.Span(0, winSize)
	assert.NilError(t, err)
	f.mem = mem
	for slot, id := range ids {
		f.publish(uint64(slot)*0x200, id)
	}
	return f
}

// publish writes one header.
func (f *fake) publish(at uint64, id uint32) {
	for _, w := range [][2]uint32{
		{4, 1}, {8, id}, {0xc, 0x12345678}, {atFeatures, 0}, {0x34, 256},
		{0xb0, winSize - 0x1000}, {0xb8, winAddr + 0x1000}, {0, 0x74726976},
	} {
		f.mem.Store32(at+uint64(w[0]), w[1])
	}
}

func (f *fake) open(o driver.Options) *driver.Window {
	o.Region, o.Line = f.region, f.line
	return open(f.t, o)
}

func (f *fake) find(o driver.Options, id virtio.DeviceID) *driver.Device {
	d, err := f.open(o).Find(bounded(f.t), id, 0)
	assert.NilError(f.t, err)
	return d
}

// live is a device brought up without a back-end that answers: each acknowledgement is put there
// before its wait.
func (f *fake) live(o driver.Options, c driver.Config) *driver.Device {
	f.t.Helper()
	d := f.find(o, virtio.IDEntropy)
	steps, err := d.Boot(c)
	assert.NilError(f.t, err)
	for _, s := range steps {
		if len(s.Name) > 8 && s.Name[:8] == "wait ack" {
			f.mem.Store32(atPFN, ackWord)
		}
		assert.NilError(f.t, s.Do(bounded(f.t)))
	}
	return d
}

// interrupt is what a back-end does after it has used buffers.
func (f *fake) interrupt() {
	f.mem.Store32(atIS, 1)
	f.line.Wake()
}

// ring is the device's view of queue i of the device in slot 0, whose rings follow one another
// from the start of the memory.
func (f *fake) ring(i int, size uint16) *usedRing {
	at := uint64(0x1000) + uint64(i)*((vring.LegacyBytes(size, 4096)+4095)&^4095)
	l := vring.Legacy(at, size, 4096)
	return &usedRing{mem: f.mem, l: l}
}

// usedRing lies at will.
type usedRing struct {
	mem shmem.Span
	l   vring.Layout
	idx uint16
}

func (r *usedRing) availIdx() uint16 { return r.mem.Load16(r.l.Avail + 2) }

func (r *usedRing) head(i uint16) uint16 {
	return r.mem.Load16(r.l.Avail + 4 + 2*uint64(i%r.l.Size))
}

// desc is descriptor i.
func (r *usedRing) desc(i uint16) (addr uint64, n uint32, flags, next uint16) {
	var b [16]byte
	r.mem.ReadAt(b[:], r.l.Desc+16*uint64(i))
	return binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint32(b[8:]),
		binary.LittleEndian.Uint16(b[12:]), binary.LittleEndian.Uint16(b[14:])
}

// use gives an element back without showing it.
func (r *usedRing) use(id, n uint32) {
	at := r.l.Used + 4 + 8*uint64(r.idx%r.l.Size)
	r.mem.Store32(at, id)
	r.mem.Store32(at+4, n)
	r.idx++
}

// show stores flags and the used index.
func (r *usedRing) show(flags uint16) {
	r.mem.Store32(r.l.Used, uint32(flags)|uint32(r.idx)<<16)
}
