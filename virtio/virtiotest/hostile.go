package virtiotest

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// verdict is what a device makes of an attack.
type verdict int

const (
	survives verdict = iota // what was offered comes back, and the device goes on
	refuses                 // it comes back with length 0, and the device goes on
	stops                   // the ring is broken: DEVICE_NEEDS_RESET
	anything                // either
)

// attack is one thing that a hostile driver does.
type attack struct {
	name string
	// plain is without INDIRECT_DESC.
	plain bool
	want  verdict
	do    func(a *arms)
}

// arms are what an attack has in its hands: the raw ring of one queue, and the request that a
// good driver would make there.
type arms struct {
	*Queue
	m     *vringtest.Memory
	good  *Request
	heads []uint16 // what is to come back
	free  []vringtest.Range
	after func() // called when the attack is under way
}

// readable is n bytes of the driver's, the good request's first.
func (a *arms) readable(n int) vringtest.Desc {
	p := make([]byte, n)
	copy(p, a.good.Readable)
	return vringtest.Readable(a.m.Buffer(p), uint32(n))
}

// writable is n bytes for the device.
func (a *arms) writable(n int) vringtest.Desc {
	addr := a.m.Alloc(uint64(n), 1)
	a.free = append(a.free, vringtest.Range{Addr: addr, Len: uint64(n)})
	return vringtest.Writable(addr, uint32(n))
}

// request is the good request.
func (a *arms) request() []vringtest.Desc {
	return parts(a.readable(len(a.good.Readable)), a.writable(a.good.Writable))
}

// entries puts descriptors into the table as they are, from entry 0 on.
func (a *arms) entries(d ...vringtest.Desc) {
	for i, d := range d {
		a.Put(uint16(i), d)
	}
}

// chain offers one chain that starts at entry 0.
func (a *arms) chain(d ...vringtest.Desc) {
	a.Chain(0, d...)
	a.offer(0)
}

// offer makes chains available, at the end of the attack.
func (a *arms) offer(heads ...uint16) {
	for i, h := range heads {
		a.SetAvail(a.AvailIdx()+uint16(len(a.heads)+i), h)
	}
	a.heads = append(a.heads, heads...)
}

// roomy is the least size of a queue that the attacks have room in.
const roomy = 8

// attacking are the trials of a driver that does all wrong: each attack on each queue, in the
// place of the script's first request there.
func attacking(s Subject) (all []trial) {
	n := len(s.Backend.Info().Queues)
	vs := variants()
	vs = []Options{vs[0], vs[len(vs)-1]} // as different as they come
	if raceDetector {
		vs = vs[:1] // slow, and it sees nothing more in the second
	}
	for _, o := range vs {
		for i := range n {
			for _, k := range attacks() {
				all = append(all, trial{fmt.Sprintf("hostile/%s/queue %d/%s", o.variant(), i, k.name), o, func(b *bench) error {
					return b.suffer(k, i)
				}})
			}
		}
	}
	return append(all, trial{"hostile/enormous requests", Options{QueueSize: 64, Buffers: 2 << 20}, (*bench).enormous},
		trial{"hostile/configuration writes", Options{}, (*bench).scribble})
}

// first is where the script has its first request on a queue, or else its end.
func (s *Subject) first(queue int) (at int) {
	for at < len(s.Script) && s.Script[at].Queue != queue {
		at++
	}
	return at
}

// suffer makes one attack in the place of the script's first request on a queue, or at its end.
func (b *bench) suffer(k attack, queue int) error {
	if b.size(queue) < roomy {
		return b.works()
	}
	at := b.first(queue)
	f := b.features()
	if k.plain {
		f = f.Without(virtio.FeatureSet(virtio.IndirectDesc))
	}
	if err := b.Up(f); err != nil {
		return err
	}
	w := &watch{b: b}
	later, err := b.reach(at)
	if err != nil {
		return fmt.Errorf("before the attack: %w", err)
	}
	for _, fl := range later { // it may be answered any time
		w.allow(fl.head, fl.q, vringtest.Range{Addr: fl.reply, Len: uint64(fl.req.Writable)})
	}
	good := &Request{Queue: queue, Readable: make([]byte, 16), Writable: 16}
	if at < len(b.Script) {
		good = &b.Script[at]
	}
	a := &arms{Queue: b.queues[queue], m: b.Memory, good: good}
	idx := a.AvailIdx()
	k.do(a)
	for i, r := range a.free {
		w.allow(uint16(i), nil, r)
	}
	w.look()
	if a.AvailIdx() == idx {
		a.SetAvailIdx(idx + uint16(len(a.heads)))
	}
	b.Device.Kick()
	if a.after != nil {
		a.after()
	}
	if at < len(b.Script) {
		if err := b.provoke(w, good, b.Script[at+1:]); err != nil {
			return err
		}
		if err := b.await(a, k.want); err != nil {
			return err
		}
	} // else nobody knows what makes the device look at the queue
	if err := w.check(); err != nil {
		return err
	}
	return b.recovers()
}

// provoke makes the device look at what stands in the place of a good request.
func (b *bench) provoke(w *watch, good *Request, rest []Request) error {
	if err := good.stimulate(); err != nil || !good.Deferred {
		return err
	}
	patience := b.opts.Patience
	b.opts.Patience = 20 * time.Millisecond
	defer func() { b.opts.Patience = patience }()
	for i, req := range rest {
		if req.Queue == good.Queue || req.Deferred {
			continue
		}
		fl, err := b.send(w, i, &req, plain)
		if err != nil {
			return err
		}
		fl.finish(w) // what comes of it is of no interest
	}
	return nil
}

// await waits for what the device makes of an attack.
func (b *bench) await(a *arms, want verdict) error {
	due := len(a.heads)
	if a.good.Stimulus != nil || a.good.Deferred {
		due = min(due, 1) // one event, one answer
	}
	if want == stops {
		due = 0
	}
	var broken, wrong error
	b.Await(func() bool {
		for due > 0 {
			e, ok := a.Used()
			if !ok {
				break
			}
			due--
			wrong = errors.Join(wrong, a.back(e, want))
		}
		broken = b.Device.Broken()
		return broken != nil || due == 0 && want != stops
	})
	switch {
	case want == anything && (broken != nil || due == 0):
		return nil
	case want == stops && broken == nil:
		return fmt.Errorf("no DEVICE_NEEDS_RESET after %v", b.opts.Patience)
	case want == stops:
		return nil
	case broken != nil:
		return fmt.Errorf("the device gave up where it had only to give chains back: %w", broken)
	case due > 0:
		return fmt.Errorf("after %v, %d of the chains %v are still not back", b.opts.Patience, due, a.heads)
	}
	return wrong
}

// back judges one completion.
func (a *arms) back(e vringtest.Elem, want verdict) error {
	i := slices.Index(a.heads, uint16(e.ID))
	if i < 0 || e.ID > math.MaxUint16 {
		return fmt.Errorf("chain %d came back, of those still due %v", e.ID, a.heads)
	}
	a.heads = slices.Delete(a.heads, i, i+1)
	if want == refuses && e.Len != 0 {
		return fmt.Errorf("chain %d came back with length %d, not refused", e.ID, e.Len)
	}
	if n := a.space(); uint64(e.Len) > n {
		return fmt.Errorf("chain %d came back with length %d, of %d writable bytes in all", e.ID, e.Len, n)
	}
	return nil
}

// space is how much the device was given to write, all chains together.
func (a *arms) space() (n uint64) {
	for _, r := range a.free {
		n += r.Len
	}
	return n
}

// enormous offers the same big buffer in every descriptor of a chain (DRV-18): the device may
// do as much of it as it likes, but neither buy memory for it nor let it delay a reset.
func (b *bench) enormous() error {
	for queue := range b.queues {
		at := b.first(queue)
		// Else how much the host has in store is its own affair.
		asked := at < len(b.Script) && !b.Script[at].Deferred && b.Script[at].Stimulus == nil
		for _, flags := range []uint16{0, vring.DescWrite} {
			for _, wait := range []bool{false, asked} {
				if err := b.Reset(); err != nil {
					return err
				}
				if b.Settle != nil {
					b.Settle()
				}
				if err := b.big(queue, at, flags, wait); err != nil {
					return fmt.Errorf("queue %d: %w", queue, err)
				}
			}
		}
	}
	return b.recovers()
}

// big offers one enormous chain in the place of request at, and resets the device under it or
// after it.
func (b *bench) big(queue, at int, flags uint16, wait bool) error {
	const (
		one   = 1 << 20
		limit = 16 << 20 // bytes of memory bought, for a chain of 64 MiB where the queue has room
	)
	if err := b.up(); err != nil {
		return err
	}
	if _, err := b.reach(at); err != nil {
		return err
	}
	q := b.queues[queue]
	d := vringtest.Desc{Addr: b.Memory.Alloc(one, 1), Len: one, Flags: flags}
	q.Chain(0, slices.Repeat([]vringtest.Desc{d}, int(q.Size))...)
	a := &arms{Queue: q, good: &Request{}, free: []vringtest.Range{{Addr: d.Addr, Len: one * uint64(q.Size)}}}
	a.offer(0)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	q.SetAvailIdx(q.AvailIdx() + 1)
	b.Device.Kick()
	if !wait {
		b.linger(2)
	} else if err := b.await(a, survives); err != nil {
		return err
	}
	if err := b.Reset(); err != nil {
		return fmt.Errorf("a chain of %d MiB: %w", q.Size, err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > limit {
		return fmt.Errorf("%d MiB of memory for a chain of %d MiB", n>>20, q.Size)
	}
	return nil
}

// scribble writes all over the configuration space, and beyond it.
func (b *bench) scribble() error {
	n := b.Device.Info().ConfigLen
	for _, stage := range []func() error{func() error { return nil }, b.works} {
		if err := stage(); err != nil {
			return err
		}
		for off := -1; off < n+4; off++ {
			for _, size := range []int{0, 1, 2, 4, 8, n, n + 1} {
				b.Device.WriteConfig(make([]byte, size), off)
			}
		}
		if err := b.Device.Broken(); err != nil {
			return err
		}
	}
	return b.recovers()
}
