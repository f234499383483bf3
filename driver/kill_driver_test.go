package driver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// killDriver drives both devices until it is killed.
func killDriver(window *shmem.Region, line notify.Line, counts counters) {
	counts.add(countDrivers)
	all, err := window.Span(0, killWindow)
	if err != nil {
		violation("driver: %v", err)
	}
	odds := func() int {
		for i := range uint64(2) {
			if page := killPage(i); all.Load32(page+pgSeq) != all.Load32(page+pgAck) {
				return 150 // a transaction
			}
		}
		return 3000
	}
	w, err := driver.Open(driver.Options{Region: window, Addr: killAddr, Line: dying{line, odds}})
	if err != nil {
		violation("driver: %v", err)
	}
	for i, id := range []virtio.DeviceID{killInOrder, killAnyTurn} {
		go func() {
			d, err := w.Find(context.Background(), id, 0)
			if err != nil {
				violation("driver: %v", err)
			}
			page := all.Slice(killPage(uint64(i)), 0x1000)
			k := &killed{d: d, page: page, counts: counts, line: line, requests: countRequests + i}
			if page.Load32(pgSeq) != page.Load32(pgAck) {
				counts.add(countDrained)
			}
			for {
				k.life()
			}
		}()
	}
	violation("driver: doorbell: %v", w.Run(context.Background()))
}

// killPage is where the page of device i lies.
func killPage(i uint64) uint64 { return 0x2000 + 0x2000*i }

// killed is one device as its driver sees it.
type killed struct {
	d        *driver.Device
	page     shmem.Span
	counts   counters
	line     notify.Line
	requests int

	posts []*post
}

// life is from one reset to the next.
func (k *killed) life() {
	ctx := context.Background()
	if err := k.d.Reset(ctx); k.lost(err, "reset") {
		return
	}
	epoch := k.page.Load32(pgEpoch)
	k.counts.add(countResets)
	k.free()
	k.untouched()
	if k.page.Load32(pgEpoch) != epoch { // a monitor without the state it had, and nothing live that shows it
		k.refused()
	}

	features := virtio.Features{}
	for _, f := range []virtio.Feature{virtio.EventIdx, virtio.RingReset} {
		if rand.IntN(4) > 0 {
			features = features.With(virtio.FeatureSet(f))
		}
	}
	size := uint16(4) << rand.IntN(4)
	if err := k.d.Start(ctx, driver.Config{Sizes: []uint16{size}, Features: features}); k.lost(err, "start") {
		return
	}
	k.counts.add(countLives)
	for range rand.IntN(300) {
		if !k.turn(features.Has(virtio.RingReset)) {
			return
		}
	}
	if rand.IntN(2) == 0 { // reset over running requests
		k.post(1 + rand.IntN(k.d.Queue(0).Size()/2))
	}
}

// turn does one thing with a live device; false is the end of this life.
func (k *killed) turn(ringReset bool) bool {
	q := k.d.Queue(0)
	switch rand.IntN(40) {
	case 0:
		var b [8]byte
		if err := k.d.ReadConfig(b[:], 0); err != nil {
			violation("%v", err)
		}
		if x, y := binary.LittleEndian.Uint32(b[:]), binary.LittleEndian.Uint32(b[4:]); x != ^y {
			violation("%v: configuration %#x %#x is of two generations", k.d, x, y)
		}
		k.counts.add(countConfigReads)
		return true
	case 1:
		if ringReset {
			return k.queueReset(q)
		}
	}
	if !k.post(1 + rand.IntN(q.Size()/2)) {
		return false
	}
	for _, p := range k.posts {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := p.r.Wait(ctx)
		cancel()
		if k.lost(err, "request") {
			return false
		}
		p.check(k.d)
		k.counts.add(k.requests)
	}
	k.free()
	return true
}

// queueReset resets the queue over running requests: what they used is not touched again.
func (k *killed) queueReset(q *driver.Queue) bool {
	k.post(q.Size() / 2)
	if err := q.Reset(context.Background(), uint16(4)<<rand.IntN(4)); k.lost(err, "queue reset") {
		return false
	}
	k.counts.add(countQueueResets)
	pattern := byte(rand.Uint32())
	for _, p := range k.posts {
		fill(p.all, pattern)
	}
	idle()
	for _, p := range k.posts {
		same(k.d, p.all, pattern, "after a queue reset")
	}
	k.free()
	return true
}

// lost reports whether a life is over because the device lost its state; any other error is one
// that must not be. Then nothing but a reset is taken.
func (k *killed) lost(err error, what string) bool {
	if err == nil {
		return false
	}
	if !errors.Is(err, driver.ErrNeedsReset) {
		violation("%s: %v; status %#x epoch %#x state %d", what, err, k.page.Load32(pgStatus), k.page.Load32(pgEpoch), k.page.Load32(0x900))
	}
	k.counts.add(countLost)
	k.refused()
	return true
}

// refused writes QueueSel, past the driver, to a device that needs a reset.
func (k *killed) refused() {
	seq := k.page.Load32(pgSeq) + 1
	if k.page.Load32(pgAck) != seq-1 {
		return
	}
	k.page.Store32(pgVal, 0)
	k.page.Store32(pgCmd, 0x40030)
	k.page.Store32(pgSeq, seq)
	for begun := time.Now(); k.page.Load32(pgAck) != seq; time.Sleep(20 * time.Microsecond) {
		if time.Since(begun) > time.Minute {
			violation("%v: no answer", k.d)
		}
		_ = k.line.Raise()
	}
	// State 1 answers 3; a device that broke down with its state 4.
	result, state := k.page.Load32(pgResult), k.page.Load32(0x900)
	if want := 4 - state; result != want {
		violation("%v: a write of QueueSel to a device that needs a reset, state %d: result %d, not %d", k.d, state, result, want)
	}
	k.counts.add(countRefused)
}

// post is a request with its memory: guard, question, guard, answer, guard.
type post struct {
	r        driver.Request
	all      driver.Buffer
	question [8]byte
	room     int // for the answer
}

const (
	guard  = 64
	canary = 0xc5
)

// post submits n requests; false is the end of this life.
func (k *killed) post(n int) bool {
	k.free()
	var requests []*driver.Request
	for range n {
		p := &post{}
		binary.LittleEndian.PutUint64(p.question[:], rand.Uint64())
		p.room = killAnswerLen(p.question) + rand.IntN(64)
		var err error
		if p.all, err = k.d.Alloc(3*guard + 8 + p.room); err != nil {
			violation("%v", err)
		}
		fill(p.all, canary)
		p.all.WriteAt(p.question[:], guard)
		p.r.OutBuffer = p.all.Slice(guard, 8)
		p.r.InBuffer = p.all.Slice(2*guard+8, p.room)
		k.posts = append(k.posts, p)
		requests = append(requests, &p.r)
	}
	_, err := k.d.Queue(0).Submit(requests...)
	return !k.lost(err, "submit")
}

// free gives the requests' memory back: they are over.
func (k *killed) free() {
	for _, p := range k.posts {
		p.all.Free()
	}
	k.posts = nil
}

func (p *post) check(d *driver.Device) {
	want := bytes.Repeat([]byte{canary}, p.all.Len())
	copy(want[guard:], p.question[:])
	n := killAnswerLen(p.question)
	if p.r.N != n {
		violation("%v: answer of %d bytes, not %d", d, p.r.N, n)
	}
	killAnswer(p.question, want[2*guard+8:][:n])
	got := make([]byte, len(want))
	p.all.ReadAt(got, 0)
	if i := diff(got, want); i >= 0 {
		violation("%v: byte %d of %d around an answer of %d is %#x, not %#x", d, i, len(want), n, got[i], want[i])
	}
}

func diff(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// untouched takes all memory of a device that was reset and sees that nobody writes to it.
func (k *killed) untouched() {
	const piece = 1 << 12
	var all []driver.Buffer
	pattern := byte(rand.Uint32())
	for n := 1 << 18; n >= piece; {
		b, err := k.d.Alloc(n)
		if err != nil {
			n /= 2
			continue
		}
		fill(b, pattern)
		all = append(all, b)
	}
	idle()
	if rand.IntN(6) == 0 { // a monitor may come up meanwhile
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
	for _, b := range all {
		same(k.d, b, pattern, "after a reset")
		b.Free()
	}
}

// idle leaves a device that has not let go the time to show it.
func idle() {
	if rand.IntN(4) == 0 {
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
	}
}

func fill(b driver.Buffer, v byte) { b.WriteAt(bytes.Repeat([]byte{v}, b.Len()), 0) }

func same(d *driver.Device, b driver.Buffer, v byte, when string) {
	got := make([]byte, b.Len())
	b.ReadAt(got, 0)
	for i := range got {
		if got[i] != v {
			violation("%v: memory written to %s: %#x at %#x", d, when, got[i], b.Addr+uint64(i))
		}
	}
}
