package vring_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// The memory of the fuzzed driver: two windows that adjoin, a hole, and one up to the end of the
// address space, each with a margin around it that nobody may write. The rings lie at the start
// of the first.
var fuzzWindows = []struct{ addr, size uint64 }{
	{0x1000, 0x800},
	{0x1800, 0x400},
	{1<<64 - 0x400, 0x400},
}

const fuzzMargin = 64

func fuzzLayout(size uint16, legacy bool) vring.Layout {
	if legacy {
		return vring.Legacy(0x1000, size, 64)
	}
	return vring.Layout{Size: size, Desc: 0x1000, Avail: 0x1102, Used: 0x1144}
}

// Bits of the first argument of FuzzQueue. The low three are the logarithm of the size, 4 at
// most.
const (
	fuzzEventIdx = 1 << (3 + iota)
	fuzzIndirect
	fuzzPatient
	fuzzLegacy
	fuzzWrap  // start four entries before the indexes wrap
	fuzzGate  // behind a gate
	fuzzBus4  // device memory on a bus of 4 bytes
	fuzzBus8  // device memory
	fuzzBytes // the bytes are descriptors from entry 0 on, and not the whole window
)

// The steps of a script, one byte each (modulo their number) with the operands behind it.
const (
	stepOffer     = iota // head: one more available chain
	stepPop              // chain
	stepRead             // chain, length
	stepWrite            // chain, length
	stepPush             // chain
	stepRefuse           // chain
	stepPublish          //
	stepShow             //
	stepArm              //
	stepDisarm           //
	stepDesc             // entry, address (2), length, flags, next: a descriptor, mostly sane
	stepTableDesc        // entry, address (2), length, flags, next: likewise, of an indirect table
	stepPoke             // address (2), byte
	stepIdx              // distance (1, signed) to move the available index by
	stepUsedEvent        // distance (1, signed) from the published index
	stepFlags            // byte: the available flags
	steps
)

// fuzzTable is where stepTableDesc builds its table.
const fuzzTable = 0x1400

// fuzzAddr maps two bytes to an address in or just around the windows.
func fuzzAddr(v uint16) uint64 {
	if v >= 0xf000 {
		return uint64(v) | ^uint64(0xffff)
	}
	return 0xff0 + uint64(v)%0xc20
}

// script hands out operands; it is over when they are.
type script []byte

func (s *script) next() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

func (s *script) next16() uint16 { return uint16(s.next()) | uint16(s.next())<<8 }

// fuzzed is a queue and a model of it on memories with the same contents.
type fuzzed struct {
	regions []*shmem.Region
	margins [][]byte
	space   *shmem.Space
	c       vring.Config
	q       *vring.Queue
	m       *model

	ours    [3]vring.Chain
	theirs  [3]modelChain
	fill    byte
	chains  int // taken and not refused, so to be given back
	refused int
	begin   uint16
}

func newFuzzed(t *testing.T, config uint16, memory []byte) *fuzzed {
	f := &fuzzed{}
	size := uint16(1) << min(config&7, 4)
	f.c = vring.Config{
		Layout:   fuzzLayout(size, config&fuzzLegacy != 0),
		EventIdx: config&fuzzEventIdx != 0,
		Indirect: config&fuzzIndirect != 0,
		Patient:  config&fuzzPatient != 0,
	}
	if config&fuzzWrap != 0 {
		f.c.Start = 0xfffc
	}
	if config&fuzzGate != 0 {
		f.c.Gate = vring.NewGate(func() bool { return true }, func() {})
	}
	f.begin = f.c.Start
	f.m = &model{c: f.c, n: size, taken: f.begin, seen: f.begin, published: f.begin, judged: f.begin}
	var windows []shmem.Window
	for _, w := range fuzzWindows {
		n := int(w.size) + 2*fuzzMargin
		region := shmem.NewHeap(n)
		switch {
		case config&fuzzBus4 != 0:
			region, _ = shmem.NewStrict(n, 4)
		case config&fuzzBus8 != 0:
			region, _ = shmem.NewStrict(n, 8)
		}
		all := bytes.Repeat([]byte{0xa5}, n)
		span, err := region.Span(0, uint64(n))
		assert.NilError(t, err)
		span.WriteAt(all, 0)
		f.regions = append(f.regions, region)
		f.margins = append(f.margins, all)
		windows = append(windows, shmem.Window{Addr: w.addr, Region: region, Off: fuzzMargin, Size: w.size})
		f.m.mem = append(f.m.mem, modelPiece{w.addr, bytes.Repeat([]byte{0xa5}, int(w.size))})
	}
	var err error
	f.space, err = shmem.NewSpace(windows...)
	assert.NilError(t, err)

	limit := f.c.DescBytes()
	if config&fuzzBytes == 0 {
		limit = fuzzWindows[0].size
	}
	f.poke(f.c.Desc, memory[:min(uint64(len(memory)), limit)])
	if config&fuzzBytes != 0 {
		f.poke(f.c.Avail, make([]byte, f.c.AvailBytes()))
		f.setIdx(f.c.Start)
	}
	f.q, err = vring.New(f.space, f.c)
	assert.NilError(t, err)
	return f
}

// poke is the driver's store, to both memories.
func (f *fuzzed) poke(addr uint64, p []byte) {
	if len(p) == 0 || f.m.mem.at(addr, uint64(len(p))) == nil {
		return
	}
	copy(f.m.mem.at(addr, uint64(len(p))), p)
	span, err := f.space.Span(addr, uint64(len(p)))
	if err == nil {
		span.WriteAt(p, 0)
	}
}

func (f *fuzzed) poke16(addr uint64, v uint16) { f.poke(addr, []byte{byte(v), byte(v >> 8)}) }

func (f *fuzzed) setIdx(v uint16) { f.poke16(f.c.Avail+2, v) }

func (f *fuzzed) idx() uint16 { return f.m.mem.load16(f.c.Avail + 2) }

// desc reads a descriptor out of the script: an address in or near the windows, a length that
// mostly fits, any flags, a next field that is rarely outside.
func (f *fuzzed) desc(s *script) (entry byte, d []byte) {
	entry = s.next()
	addr, n := fuzzAddr(s.next16()), uint32(s.next())
	if n >= 0xf0 {
		n <<= n & 31
	}
	d = binary.LittleEndian.AppendUint64(nil, addr)
	d = binary.LittleEndian.AppendUint32(d, n)
	d = binary.LittleEndian.AppendUint16(d, uint16(s.next()))
	return entry, binary.LittleEndian.AppendUint16(d, uint16(s.next())%(f.c.Size+1))
}

// step does one step of the script on both sides and compares what they say.
func (f *fuzzed) step(t *testing.T, s *script) {
	op := s.next() % steps
	chain := func() (*vring.Chain, *modelChain) {
		i := s.next() % 3
		return &f.ours[i], &f.theirs[i]
	}
	switch op {
	case stepOffer:
		f.poke16(f.c.Avail+4+2*uint64(f.idx()%f.c.Size), uint16(s.next())%(f.c.Size+1))
		f.setIdx(f.idx() + 1)
	case stepPop:
		f.pop(t, s.next()%3)
	case stepRead:
		ours, theirs := chain()
		p, q := make([]byte, s.next()), make([]byte, 256)
		n, err := ours.Read(p)
		switch {
		case !theirs.flying:
			assert.Equal(t, err, vring.ErrDone)
		case theirs.read == len(theirs.in) && len(p) > 0:
			assert.Equal(t, err, io.EOF)
		default:
			assert.NilError(t, err)
			assert.DeepEqual(t, p[:n], f.m.read(theirs, q[:len(p)]))
		}
	case stepWrite:
		ours, theirs := chain()
		p := make([]byte, s.next())
		for i := range p {
			f.fill++
			p[i] = f.fill
		}
		n, err := ours.Write(p)
		if !theirs.flying {
			assert.Equal(t, err, vring.ErrDone)
			break
		}
		assert.Equal(t, n, f.m.write(theirs, p))
		if n < len(p) {
			assert.Equal(t, err, io.ErrShortWrite)
		} else {
			assert.NilError(t, err)
		}
	case stepPush:
		ours, theirs := chain()
		f.q.Push(ours)
		f.m.giveBack(theirs, theirs.wrote)
	case stepRefuse:
		ours, theirs := chain()
		f.q.Refuse(ours)
		f.m.giveBack(theirs, 0)
	case stepPublish:
		notify, err := f.q.Publish()
		assert.Equal(t, notify, f.m.publish())
		assert.ErrorIs(t, err, f.m.broken)
	case stepShow:
		f.m.show()
		assert.ErrorIs(t, f.q.Show(), f.m.broken)
	case stepArm:
		pending, err := f.q.Arm()
		assert.Equal(t, pending, f.m.arm())
		assert.ErrorIs(t, err, f.m.broken)
	case stepDisarm:
		f.q.Disarm()
		f.m.disarm()
	case stepDesc:
		entry, d := f.desc(s)
		f.poke(f.c.Desc+16*uint64(uint16(entry)%f.c.Size), d)
	case stepTableDesc:
		entry, d := f.desc(s)
		f.poke(fuzzTable+uint64(entry>>6)+16*uint64(entry&15), d)
	case stepPoke:
		f.poke(fuzzAddr(s.next16()), []byte{s.next()})
	case stepIdx:
		f.setIdx(f.idx() + uint16(int8(s.next())))
	case stepUsedEvent:
		f.poke16(f.c.Avail+4+2*uint64(f.c.Size), f.m.published+uint16(int8(s.next())))
	case stepFlags:
		f.poke16(f.c.Avail, uint16(s.next()))
	}
	assert.Equal(t, f.q.Pending(), len(f.m.held))
}

func (f *fuzzed) pop(t *testing.T, i byte) {
	ours, theirs := &f.ours[i], &f.theirs[i]
	walked := f.q.Walked()
	want := f.m.pop(theirs)
	ok, err := f.q.Pop(ours)
	assert.Equal(t, ok, want.ok, "%v, the model says %v", err, want.err)
	assert.ErrorIs(t, err, want.err)
	assert.Assert(t, f.q.Walked()-walked <= uint64(f.c.Size)+2, "a walk of %d", f.q.Walked()-walked)
	refused := (*vring.ChainError)(nil)
	assert.Equal(t, errors.As(err, &refused), want.refused, "class of %v", err)
	switch {
	case want.refused:
		f.refused++
		assert.Equal(t, refused.Head, int(theirs.head))
	case want.ok:
		f.chains++
		assert.Equal(t, ours.Head(), theirs.head)
		assert.Equal(t, ours.Readable(), uint64(len(theirs.in)))
		assert.Equal(t, ours.Writable(), uint64(len(theirs.out)))
	case err != nil:
		assert.Equal(t, f.q.Broken(), err)
	}
}

// compare requires that both memories hold the same, and that the margins hold what they held.
func (f *fuzzed) compare(t *testing.T) {
	for i, w := range fuzzWindows {
		want := f.margins[i]
		copy(want[fuzzMargin:], f.m.mem[i].bytes)
		span, err := f.regions[i].Span(0, uint64(len(want)))
		assert.NilError(t, err)
		got := make([]byte, len(want))
		span.ReadAt(got, 0)
		if bytes.Equal(got, want) {
			continue
		}
		for j := range got {
			if got[j] != want[j] {
				t.Fatalf("the byte at %#x is %#02x, the model has %#02x", w.addr+uint64(j)-fuzzMargin, got[j], want[j])
			}
		}
	}
}

// FuzzQueue runs a script of driver's and device's steps on a queue over raw bytes, beside a
// model of it. They must agree on every answer and on every byte of memory, margins included;
// no head may be lost or come back twice.
func FuzzQueue(f *testing.F) {
	f.Fuzz(func(t *testing.T, config uint16, memory, steps []byte) {
		if len(steps) > 1024 {
			return
		}
		f := newFuzzed(t, config, memory)
		for s := script(steps); len(s) > 0; {
			f.step(t, &s)
			f.compare(t)
		}
		if f.q.Broken() != nil {
			return
		}
		for i := range f.ours {
			f.q.Push(&f.ours[i])
			f.m.giveBack(&f.theirs[i], f.theirs[i].wrote)
		}
		_, err := f.q.Publish()
		assert.NilError(t, err)
		f.m.publish()
		f.compare(t)
		assert.Equal(t, f.m.published-f.begin, uint16(f.chains+f.refused), "heads given back")
	})
}
