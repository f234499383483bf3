package vhostuser_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// recorder is a device that remembers the numbers it is given, in order.
type recorder struct {
	inOrder bool

	mu   sync.Mutex
	seen []uint64
}

func (r *recorder) Info() virtio.Info {
	return virtio.Info{ID: 0x5556, Queues: []uint16{0}, Redo: true, InOrder: r.inOrder}
}

func (r *recorder) ReadConfig([]byte, int) {}

func (r *recorder) Serve(ctx context.Context, s *virtio.Session) error {
	return s.Queue(0).Handle(ctx, func(c *vring.Chain) error {
		var p [8]byte
		if _, err := c.Read(p[:]); err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen = append(r.seen, binary.LittleEndian.Uint64(p[:]))
		return nil
	})
}

func (r *recorder) numbers() []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// A dead back-end's legacy is played in a ring of 8 whose guest has offered six chains. They are
// numbers 0 to 5, whose heads are 3, 4, 5, 6, 7, 0: a head says nothing about the order.
const (
	legacySize = 8
	legacyHead = 3
)

func head(number int) uint16 { return uint16((legacyHead + number) % legacySize) }

// A legacy is what a back-end left behind when it was killed.
type legacy struct {
	name string
	used []int // numbers that are in the used ring and shown by its index
	// of the record:
	flying   []int // numbers in the order they were taken, that is, of their counters
	batch    []int // numbers given back, the last one first, that the used index may show
	settled  int   // how far behind the shown index the record's is
	unused   bool  // nothing was ever written to the record
	wantRedo []int // numbers the successor has to serve, in this order
}

// The moments of the specification's steps at which a back-end can die: each leaves another
// record, and what the successor has to do follows from that alone.
var legacies = []legacy{
	{name: "nothing taken", unused: true, wantRedo: []int{0, 1, 2, 3, 4, 5}},
	{name: "taken", flying: []int{0, 1, 2}, wantRedo: []int{0, 1, 2, 3, 4, 5}},
	{name: "all taken", flying: []int{0, 1, 2, 3, 4, 5}, wantRedo: []int{0, 1, 2, 3, 4, 5}},
	{name: "some given back long ago", used: []int{3, 1}, flying: []int{0, 2, 4}, wantRedo: []int{0, 2, 4, 5}},
	{name: "the order of the counters", used: []int{1}, flying: []int{4, 2, 0, 3}, wantRedo: []int{4, 2, 0, 3, 5}},
	{name: "element written, index not", flying: []int{0, 1, 2}, batch: []int{1}, wantRedo: []int{0, 1, 2, 3, 4, 5}},
	{name: "index stored, nothing cleared", used: []int{1}, flying: []int{0, 1, 2}, batch: []int{1}, settled: 1, wantRedo: []int{0, 2, 3, 4, 5}},
	{name: "index of a batch stored", used: []int{3, 0}, flying: []int{0, 1, 2, 3}, batch: []int{0, 3}, settled: 2, wantRedo: []int{1, 2, 4, 5}},
	{name: "batch half cleared", used: []int{3, 0}, flying: []int{1, 2, 3}, batch: []int{0, 3}, settled: 2, wantRedo: []int{1, 2, 4, 5}},
	{name: "batch cleared, record's index not stored", used: []int{3, 0}, flying: []int{1, 2}, batch: []int{0, 3}, settled: 2, wantRedo: []int{1, 2, 4, 5}},
	{name: "a batch behind an older one", used: []int{2, 3, 0}, flying: []int{0, 1, 3}, batch: []int{0, 3, 2}, settled: 2, wantRedo: []int{1, 4, 5}},
	{name: "element written behind a settled batch", used: []int{3}, flying: []int{0, 1, 2}, batch: []int{0, 3}, wantRedo: []int{0, 1, 2, 4, 5}},
	{name: "all given back", used: []int{5, 4, 3, 2, 1, 0}, flying: []int{5, 4, 3, 2, 1, 0}, batch: []int{0, 1, 2, 3, 4, 5}, settled: 6},
}

// leave plays the legacy: the guest's ring and the record are as they were left.
func (l legacy) leave(t *testing.T, g *vhostusertest.Guest, start uint16) {
	t.Helper()
	q := g.Queues[0]
	q.ResetAt(start)
	for range legacyHead { // turn the ring's free list
		h, err := q.Offer(vhostusertest.Readable(g.Memory.Alloc(8, 1), 8))
		assert.NilError(t, err)
		q.GiveBack(q.UsedIdx()+1, h)
		_, _, err = q.Used()
		assert.NilError(t, err)
	}
	for i := range 6 {
		addr := g.Memory.Alloc(8, 1)
		g.Memory.Write(addr, binary.LittleEndian.AppendUint64(nil, uint64(i)))
		h, err := q.Offer(vhostusertest.Readable(addr, 8))
		assert.NilError(t, err)
		assert.Equal(t, h, head(i))
	}
	var heads []uint16
	for _, number := range l.used {
		heads = append(heads, head(number))
	}
	q.GiveBack(q.UsedIdx()+uint16(len(heads)), heads...)

	var err error
	g.Inflight, err = vhostusertest.NewInflight(1, legacySize)
	assert.NilError(t, err)
	if l.unused {
		return
	}
	r := vhostusertest.Record{Version: 1, Size: legacySize, Used: q.UsedIdx() - uint16(l.settled), Entries: make([]vhostusertest.Entry, legacySize)}
	for i := range r.Entries {
		r.Entries[i].Next = 6 // of some batch long ago
		r.Entries[i].Counter = uint64(100 - i)
	}
	for i, number := range l.flying {
		e := &r.Entries[head(number)]
		e.Flying, e.Counter = true, uint64(1_000+i)
	}
	for i, number := range l.batch {
		if i == 0 {
			r.LastBatch = head(number)
		} else {
			r.Entries[head(l.batch[i-1])].Next = head(number)
		}
	}
	assert.NilError(t, g.Inflight.Write(0, r))
}

// Whenever its predecessor died, a back-end serves what was not given back, once, in the order
// in which it was taken, and then what nobody took. The ring begins at three places: 65535 and 0
// lie within what was given back, or within what is in flight.
func TestVhostUser_InflightRecordOfTheDead(t *testing.T) {
	for _, start := range []uint16{0, 65530, 65532} {
		for _, l := range legacies {
			t.Run(fmt.Sprintf("from %d/%s", start, l.name), func(t *testing.T) {
				g := newGuest(t, vhostusertest.Options{Sizes: []uint16{legacySize}, Inflight: true})
				l.leave(t, g, start)
				device := &recorder{}
				assert.NilError(t, g.Dial(listen(t, device)))
				finish(t, g)

				var want []uint64
				for _, number := range l.wantRedo {
					want = append(want, uint64(number))
				}
				assert.DeepEqual(t, device.numbers(), want)
				settled(t, g)
				more(t, g, 20)
			})
		}
	}
}

// finish waits until everything in flight came back.
func finish(t *testing.T, g *vhostusertest.Guest) {
	t.Helper()
	for _, q := range g.Queues {
		for q.Flying() > 0 {
			_, err := q.Next()
			assert.NilError(t, err)
		}
	}
}

// more does some requests of 8 bytes on queue 0.
func more(t *testing.T, g *vhostusertest.Guest, n int) {
	t.Helper()
	addr := g.Memory.Alloc(8, 1)
	for range n {
		_, err := g.Queues[0].Do(vhostusertest.Readable(addr, 8))
		assert.NilError(t, err)
	}
}

// settled asks of the record of queue 0 that nothing is in flight, once the connection is over
// and nobody writes it any more.
func settled(t *testing.T, g *vhostusertest.Guest) {
	t.Helper()
	// The used index is stored before the record is: GET_VRING_BASE is behind both.
	_, err := g.Queues[0].Stop()
	assert.NilError(t, err)
	r, err := g.Inflight.Read(0)
	assert.NilError(t, err)
	assert.Equal(t, r.Used, g.Queues[0].UsedIdx())
	for h, e := range r.Entries {
		assert.Assert(t, !e.Flying, "head %d is in flight in the record", h)
	}
	assert.NilError(t, g.Queues[0].Place())
	assert.NilError(t, g.Queues[0].Enable())
	assert.NilError(t, g.Queues[0].ForceKick())
}

// A back-end gives the record to keep, in the reference layout as far as there is one.
func TestVhostUser_InflightFresh(t *testing.T) {
	for _, queues := range []uint16{1, 2} {
		g := newGuest(t, vhostusertest.Options{Sizes: []uint16{legacySize, 16}[:queues], Inflight: true})
		assert.NilError(t, g.Dial(listen(t, &shuffler{queues: int(queues), depth: 1})))
		assert.Equal(t, g.Inflight.Queues, queues)
		info, err := g.Inflight.File.Stat()
		assert.NilError(t, err)
		assert.Assert(t, uint64(info.Size()) >= g.Inflight.Offset+g.Inflight.Size)
		turned(g, 0).some(t, 30)
		assert.NilError(t, g.FrontEnd.SetVringEnable(0, false))
		_, err = g.Queues[0].Stop()
		assert.NilError(t, err)
		r, err := g.Inflight.Read(0)
		assert.NilError(t, err)
		assert.Equal(t, r.Version, uint16(1))
		assert.Equal(t, r.Used, g.Queues[0].UsedIdx())
		for h, e := range r.Entries {
			assert.Assert(t, !e.Flying, "head %d is in flight in the record", h)
		}
	}
}

// A record that nobody can have left is refused, and the device serves the next one.
func TestVhostUser_InflightLies(t *testing.T) {
	entries := func() []vhostusertest.Entry { return make([]vhostusertest.Entry, legacySize) }
	for name, lie := range map[string]func(t *testing.T, i *vhostusertest.Inflight){
		"size beyond the file":  func(_ *testing.T, i *vhostusertest.Inflight) { i.Size = 1 << 30 },
		"offset beyond it":      func(_ *testing.T, i *vhostusertest.Inflight) { i.Offset = 1 << 40 },
		"offset that wraps":     func(_ *testing.T, i *vhostusertest.Inflight) { i.Offset = -i.Size + 64 },
		"too small":             func(_ *testing.T, i *vhostusertest.Inflight) { i.Size = 32 },
		"no bytes":              func(_ *testing.T, i *vhostusertest.Inflight) { i.Size = 0 },
		"no queues":             func(_ *testing.T, i *vhostusertest.Inflight) { i.Queues = 0 },
		"too many queues":       func(_ *testing.T, i *vhostusertest.Inflight) { i.Queues = 0xffff },
		"smaller than the ring": func(_ *testing.T, i *vhostusertest.Inflight) { i.QueueSize = 4 },
		"truncated file": func(t *testing.T, i *vhostusertest.Inflight) {
			assert.NilError(t, i.File.Truncate(0))
		},
		"another version": func(t *testing.T, i *vhostusertest.Inflight) {
			assert.NilError(t, i.Write(0, vhostusertest.Record{Version: 7, Size: legacySize, Entries: entries()}))
		},
		"another size": func(t *testing.T, i *vhostusertest.Inflight) {
			assert.NilError(t, i.Write(0, vhostusertest.Record{Version: 1, Size: 4096, Entries: entries()}))
		},
		"a batch as long as the index is wide": func(t *testing.T, i *vhostusertest.Inflight) {
			assert.NilError(t, i.Write(0, vhostusertest.Record{Version: 1, Size: legacySize, Used: 0x8000, Entries: entries()}))
		},
		"a batch that starts nowhere": func(t *testing.T, i *vhostusertest.Inflight) {
			assert.NilError(t, i.Write(0, vhostusertest.Record{Version: 1, Size: legacySize, Used: 0xffff, LastBatch: 999, Entries: entries()}))
		},
		"all in flight": func(t *testing.T, i *vhostusertest.Inflight) {
			all := entries()
			for h := range all {
				all[h].Flying = true
			}
			assert.NilError(t, i.Write(0, vhostusertest.Record{Version: 1, Size: legacySize, Entries: all}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := listen(t, &recorder{})
			g := newGuest(t, vhostusertest.Options{Sizes: []uint16{legacySize}, Inflight: true, Acked: true})
			var err error
			g.Inflight, err = vhostusertest.NewInflight(1, legacySize)
			assert.NilError(t, err)
			lie(t, g.Inflight)
			fe := dial(t, path)
			// Nothing is promised but that the back-end stays what it is: refused, dropped,
			// or taken as a record of nothing.
			if err := g.Attach(fe); err != nil {
				t.Log(err)
			}
			assert.NilError(t, g.Detach())

			honest := newGuest(t, vhostusertest.Options{Sizes: []uint16{legacySize}, Inflight: true})
			assert.NilError(t, honest.Dial(path))
			more(t, honest, 5)
		})
	}
}
