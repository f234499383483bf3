package virtiotest

import (
	"math/rand/v2"

	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// beyond is an address behind the driver's memory.
func (a *arms) beyond() uint64 { return memoryAddr + 2*a.rig.room }

// attacks is what a driver can do wrong on a ring, and what a device owes it for that.
func attacks() []attack {
	linked := func(d vringtest.Desc, next uint16) vringtest.Desc {
		d.Flags |= vring.DescNext
		d.Next = next
		return d
	}
	all := []attack{
		{name: "available index jumps ahead", want: stops, do: func(a *arms) { a.SetAvailIdx(a.AvailIdx() + a.Size + 1) }},
		{name: "available index goes back", want: stops, do: func(a *arms) { a.SetAvailIdx(a.AvailIdx() - 1) }},
		{name: "head beyond the table", want: stops, do: func(a *arms) { a.offer(a.Size) }},
		{name: "next beyond the table", want: stops, do: func(a *arms) {
			a.entries(linked(a.readable(4), a.Size))
			a.offer(0)
		}},
		{name: "loop of one", want: stops, do: func(a *arms) {
			a.entries(linked(a.readable(4), 0))
			a.offer(0)
		}},
		{name: "loop of empty descriptors", want: stops, do: func(a *arms) {
			a.entries(linked(a.readable(0), 1), linked(a.readable(0), 0))
			a.offer(0)
		}},
		{name: "loop in an indirect table", want: stops, do: func(a *arms) {
			a.chain(a.m.Table(linked(a.writable(1), 1), linked(a.writable(1), 0)))
		}},
		{name: "indirect in indirect", want: stops, do: func(a *arms) {
			a.chain(a.m.Table(a.m.Table(a.request()...)))
		}},
		{name: "indirect and next", want: stops, do: func(a *arms) {
			a.entries(linked(a.m.Table(a.request()...), 1), a.writable(1))
			a.offer(0)
		}},
		{name: "indirect, not negotiated", plain: true, want: refuses, do: func(a *arms) {
			a.chain(a.m.Table(a.request()...))
		}},
		{name: "indirect table outside of the memory", want: stops, do: func(a *arms) {
			a.chain(vringtest.Desc{Addr: a.beyond(), Len: 16, Flags: vring.DescIndirect})
		}},
		{name: "readable behind writable", want: refuses, do: func(a *arms) { a.chain(a.writable(4), a.readable(4)) }},
		{name: "4 GiB", want: refuses, do: func(a *arms) {
			d := vringtest.Writable(memoryAddr, 1<<32-1)
			a.chain(d, d)
		}},
		{name: "empty, readable", do: func(a *arms) { a.chain(a.readable(0)) }},
		{name: "empty, writable", do: func(a *arms) { a.chain(a.writable(0)) }},
		{name: "empty, all of the table", do: func(a *arms) { a.chain(make([]vringtest.Desc, a.Size)...) }},
		{name: "nothing readable", do: func(a *arms) { a.chain(a.writable(max(1, a.good.Writable))) }},
		{name: "nothing writable", do: func(a *arms) { a.chain(a.readable(max(1, len(a.good.Readable)))) }},
		{name: "too much readable", do: func(a *arms) {
			a.chain(append(parts(a.readable(len(a.good.Readable)+4096)), parts(a.writable(a.good.Writable))...)...)
		}},
		{name: "one byte in each descriptor", do: func(a *arms) {
			var d []vringtest.Desc
			for range a.Size / 2 {
				d = append(d, a.readable(1))
			}
			for range a.Size - a.Size/2 {
				d = append(d, a.writable(1))
			}
			a.chain(d...)
		}},
		{name: "unknown flags", do: func(a *arms) {
			d := a.request()
			for i := range d {
				d[i].Flags |= ^uint16(vring.DescNext | vring.DescWrite | vring.DescIndirect)
			}
			a.chain(d...)
		}},
		{name: "the same head twice", do: func(a *arms) {
			a.Chain(0, a.request()...)
			a.offer(0, 0)
		}},
		{name: "heads that share descriptors", do: func(a *arms) {
			a.Chain(0, append(parts(a.readable(1)), a.writable(1), a.writable(1))...)
			a.offer(0, 1, 2, 1)
		}},
		{name: "buffers are the rings", want: anything, do: func(a *arms) {
			a.free = append(a.free,
				vringtest.Range{Addr: a.Desc, Len: a.DescBytes()}, vringtest.Range{Addr: a.Avail, Len: a.AvailBytes()})
			a.chain(vringtest.Readable(a.Desc, uint32(a.DescBytes())), vringtest.Writable(a.Layout.Used, uint32(a.UsedBytes())),
				vringtest.Writable(a.Desc, uint32(a.DescBytes())), vringtest.Writable(a.Avail, uint32(a.AvailBytes())))
		}},
		{name: "used ring overwritten", do: func(a *arms) {
			a.m.Write(a.Layout.Used+4, make([]byte, a.UsedBytes()-4))
			a.chain(a.request()...)
		}},
		{name: "garbage in flags and used_event", do: func(a *arms) {
			a.SetAvailFlags(0xfffe)
			a.SetUsedEvent(0x8000)
			a.chain(a.request()...)
		}},
		{name: "more than the ring holds", want: anything, do: func(a *arms) {
			a.Chain(0, a.request()...)
			for i := range a.Size {
				a.SetAvail(i, 0)
			}
			a.heads = []uint16{0}
			a.after = func() {
				for range 20 {
					a.SetAvailIdx(a.AvailIdx() + a.Size)
					a.rig.Device.Kick()
				}
			}
		}},
		{name: "descriptors change meanwhile", want: anything, do: func(a *arms) {
			a.free = append(a.free, vringtest.Range{Addr: memoryAddr, Len: 2 * a.rig.room})
			good := a.request()
			a.chain(good...)
			a.after = func() {
				for i := range 200 {
					d := good[0]
					d.Len ^= uint32(i) << (i % 32)
					d.Flags ^= uint16(i) & 7
					a.Put(0, d)
				}
			}
		}},
		{name: "junk", do: junk},
		{name: "requests cut short", do: short},
	}
	for _, bad := range []struct {
		name string
		addr func(a *arms) uint64
		n    uint32
	}{
		{"below the memory", func(*arms) uint64 { return 0 }, 8},
		{"behind the memory", (*arms).beyond, 8},
		{"across the end of the memory", func(a *arms) uint64 { return a.beyond() - 4 }, 8},
		{"around the end of all addresses", func(*arms) uint64 { return 1<<64 - 4 }, 8},
	} {
		all = append(all,
			attack{name: "readable " + bad.name, want: refuses, do: func(a *arms) {
				a.chain(vringtest.Readable(bad.addr(a), bad.n), a.writable(1))
			}},
			attack{name: "writable " + bad.name, want: refuses, do: func(a *arms) {
				a.chain(a.readable(1), vringtest.Writable(bad.addr(a), bad.n))
			}})
	}
	for _, bad := range []struct {
		name string
		n    func(a *arms) uint32
	}{
		{"empty", func(*arms) uint32 { return 0 }},
		{"of a part of a descriptor", func(*arms) uint32 { return 24 }},
		{"longer than the queue", func(a *arms) uint32 { return 16 * (uint32(a.Size) + 1) }},
	} {
		all = append(all, attack{name: "indirect table, " + bad.name, want: refuses, do: func(a *arms) {
			d := a.m.Table(a.request()...)
			d.Len = bad.n(a)
			a.chain(d)
		}})
	}
	return all
}

// junk is chains of random bytes.
func junk(a *arms) {
	rnd := rand.New(rand.NewPCG(1, 1))
	a.several(int(a.Size)/2, func(int) []vringtest.Desc {
		p := make([]byte, rnd.IntN(64))
		for i := range p {
			p[i] = byte(rnd.Uint32() >> (rnd.Uint32() % 32)) // small numbers mean more
		}
		r := vringtest.Readable(a.m.Buffer(p), uint32(len(p)))
		return []vringtest.Desc{r, a.writable(rnd.IntN(64))}
	})
}

// short is the good request with ever fewer readable, and then writable, bytes.
func short(a *arms) {
	r, w := len(a.good.Readable), a.good.Writable
	each := min(int(a.Size)/4, max(r, w))
	a.several(2*each, func(i int) []vringtest.Desc {
		if i < each {
			return []vringtest.Desc{a.readable(r * i / each), a.writable(w)}
		}
		return []vringtest.Desc{a.readable(r), a.writable(w * (i - each) / each)}
	})
}

// several offers n chains of two descriptors.
func (a *arms) several(n int, chain func(i int) []vringtest.Desc) {
	for i := range n {
		a.Chain(uint16(2*i), chain(i)...)
		a.offer(uint16(2 * i))
	}
}
