package mmio

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// FuzzRegisters is a driver that stores at random: into every register of its device, into its
// rings, with doorbells between. Whatever it does, the device writes nowhere but to its own
// registers, the rings it acknowledged and the buffers they offer; its neighbour goes on; and
// when the driver boots again and behaves, it is served.
func FuzzRegisters(f *testing.F) {
	const (
		hello = 0x50 // the whole start of a boot
		queue = 0x60 // ask for a queue, as one should
		live  = 0x70
	)
	up := []byte{hello, queue, queue | 1, live}
	with := func(more ...byte) []byte { return append(bytes.Clone(up), more...) }
	f.Add([]byte{})
	f.Add(up)
	f.Add(with(0x20, 0, 2, 0x30, 0, 0x40, 1, 0x10))                     // a request
	f.Add(with(0x20, 0, 1, 0x20, 1, 1, 0x30, 1, 0x40, 1, 0x10))         // a chain that loops
	f.Add(with(0x40, 0xff, 0x10, hello, 0x10))                          // an index that jumps, a boot
	f.Add(with(0x30, 0xff, 0x40, 1, 0x10, queue|1))                     // no such head, a queue more
	f.Add(with(0x00, 0x10, 3, 0x10, live))                              // another ring while live
	f.Add(with(0x00, 0x1c, 0, 0x10, live, 0x10))                        // Status 0
	f.Add([]byte{hello, 0x00, 0x0f, 6, queue, 0x00, 0x10, 4, 0x10})     // QueueAlign, QueuePFN
	f.Add([]byte{hello, 0x00, 0x0a, 7, queue, live, 0x10})              // GuestPageSize after the start
	f.Add([]byte{live, 0x00, 0x10, 2, 0x10, hello, queue | 1, 0x10})    // the wrong way round
	f.Add(with(0x00, 0x31, 5, 0x00, 0x32, 5, 0x10, hello, queue, 0x10)) // the record scribbled on
	f.Add(with(0x80, 0x41, 0x12, 0x10, 0x80, 0x43, 0x37, 0x10))         // half words

	region := newRegion(f)
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 300 {
			return
		}
		watchdog := time.AfterFunc(4*hang, func() { panic("the back-end hangs") })
		defer watchdog.Stop()
		wipe(t, region)
		r := newRig(t, region, func(o *Options) { o.Isolate = true }, &toy{queues: 2, id: 0x4001}, &toy{queues: 1, id: 0x4002})
		rings := watchRings(r)
		r.start()
		defer r.stop()
		other := newFrontEnd(r, virtioExp, 1)
		other.pages[0] = winSize/PageSize - 3
		other.boot()
		other.rest()
		fz := &scribbler{frontEnd: newFrontEnd(r, virtioExp, 0), ops: ops}
		before := fz.snapshot()
		for fz.step() {
		}
		r.line.kick() // what was stored last is answered before the look
		r.settle()
		after := fz.snapshot()
		allowed, spared := rings(other)
		for i := range after {
			if before[i] != after[i] && !fz.mine(uint64(i)) && !allowed(uint64(i)) {
				t.Fatalf("byte %#x changed from %#x to %#x; log:\n%s", i, before[i], after[i], r.log)
			}
		}
		if spared {
			other.more()
		}
		fz.boot()
		fz.rest()
		fz.more()
	})
}

// watchRings notes every ring that is about to be acknowledged. rings then says which bytes
// belong to one, and whether all of them spared a neighbour's.
func watchRings(r *rig) (rings func(other *frontEnd) (allowed func(uint64) bool, spared bool)) {
	type extent struct{ from, to uint64 }
	var mu sync.Mutex
	var seen []extent
	hook := r.bus.hook
	r.bus.hook = func(p point, s *slot) {
		if p == pointPoison && s == r.bus.slots[0] {
			mu.Lock()
			for _, q := range s.queues {
				if q.configured() {
					seen = append(seen, extent{q.Desc - winAddr, q.end - winAddr})
				}
			}
			mu.Unlock()
		}
		hook(p, s)
	}
	return func(other *frontEnd) (func(uint64) bool, bool) {
		mu.Lock()
		defer mu.Unlock()
		spared := true
		for _, e := range seen {
			if l := other.layout(0); e.to > l.Desc && e.from < l.Used+l.UsedBytes() || e.to > other.buffer(0) && e.from < other.buffer(0)+16 {
				spared = false
			}
		}
		return func(off uint64) bool {
			for _, e := range seen {
				if off >= e.from && off < e.to {
					return true
				}
			}
			return false
		}, spared
	}
}

// scribbler plays the ops of a fuzzer: one byte says what, the ones after it how.
type scribbler struct {
	*frontEnd
	ops []byte
}

// values are what a register may be worth.
var values = []uint32{0, 1, PageSize, QueueAck, winAddr/PageSize + 4, 0xffffffff, 64, 16, 0x8000, 3}

func (z *scribbler) next() (b byte) {
	if len(z.ops) > 0 {
		b, z.ops = z.ops[0], z.ops[1:]
	}
	return b
}

func (z *scribbler) step() bool {
	if len(z.ops) == 0 {
		return false
	}
	op := z.next()
	q := int(op & 1)
	l := z.layout(q)
	switch op >> 4 {
	case 0: // a register
		reg := uint64(z.next()) * 4 % HeaderSize
		v := z.next()
		if int(v) < len(values) {
			z.put(reg, values[v])
		} else {
			z.put(reg, winAddr/PageSize+uint32(v)%(2*winSize/PageSize))
		}
	case 1:
		z.line.kick()
		z.settle()
	case 2: // a descriptor, always into the driver's own buffers
		i, how := uint64(z.next())%uint64(l.Size), z.next()
		z.mem.Store64Plain(l.Desc+16*i, winAddr+z.buffer(q)+uint64(how>>4))
		z.mem.Store64Plain(l.Desc+16*i+8, uint64(how>>2&7)|uint64(how&7)<<32|uint64(how>>5)<<48)
	case 3: // an entry of the available ring
		head := uint16(z.next())
		if head >= 0x80 {
			head |= 0xff00
		}
		z.mem.Store16Plain(l.Avail+4+2*uint64(z.sub[q]%l.Size), head)
	case 4: // the available index
		z.sub[q] += uint16(int8(z.next()))
		z.mem.Store32(l.Avail, uint32(z.sub[q])<<16|uint32(op>>1&1))
	case 5:
		z.hello(PageSize)
	case 6:
		z.ask(request{z.pfn(q), uint32(q), uint32(z.nums[q])}, PageSize)
	case 7:
		z.put(RegStatus, 7)
		z.line.kick()
		z.settle()
	default: // half a word
		z.mem.Store16Plain(z.reg(uint64(z.next())*2%HeaderSize), uint16(z.next())<<8|uint16(op))
	}
	return true
}

func (z *scribbler) snapshot() []byte {
	b := make([]byte, winSize)
	z.mem.ReadAt(b, 0)
	return b
}

// mine reports whether a byte is the device's header, or one that the driver itself stores to.
func (z *scribbler) mine(off uint64) bool {
	if off < HeaderSize {
		return true
	}
	for q := range z.pages {
		l := z.layout(q)
		if off >= l.Desc && off < l.Used+l.UsedBytes() || off >= z.buffer(q) && off < z.buffer(q)+32 {
			return true
		}
	}
	return false
}
