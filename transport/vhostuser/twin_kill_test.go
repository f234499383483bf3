package vhostuser_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/emulator"
	"github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
)

// kills is how often a back-end process is killed with SIGKILL in one test.
func kills() int {
	switch {
	case emulator.Here():
		return 8 // a process is long in coming
	case testing.Short():
		return 20
	}
	return 150
}

// A death is when to kill a process: some time after its start, be it served by then or not, or
// after it was connected.
type death struct {
	early bool
	after time.Duration
}

func someDeath(r *rand.Rand) death {
	if r.IntN(4) == 0 {
		return death{early: true, after: time.Duration(r.IntN(30_000)) * time.Microsecond}
	}
	return death{after: time.Duration(r.IntN(4_000)) * time.Microsecond}
}

// attach connects the guest to the process, which may be killed meanwhile: then no more than
// the connection has to fail.
func (d death) attach(t testing.TB, g *vhostusertest.Guest, p *process, path string) {
	t.Helper()
	if d.early {
		p.killAfter(d.after)
	}
	for {
		fe, err := vhostusertest.DialOnce(path)
		if err == nil {
			err = g.Attach(fe)
		}
		switch {
		case err == nil:
			if !d.early {
				p.killAfter(d.after)
			}
			return
		case p.isDead():
			return
		case errors.Is(err, vhostusertest.ErrAbsent):
			time.Sleep(100 * time.Microsecond)
		case !vhostusertest.Gone(err):
			t.Fatal(err)
		default:
			// The end of a killed process may be seen before its parent hears of it.
			await(t, p.dead, fmt.Sprintf("end of the process that could not be connected to (%v)", err))
			return
		}
	}
}

// work is what a guest does with a device while its back-ends come and go.
type work interface {
	// begin is called before a back-end process is started; the files are for it.
	begin(t *testing.T) []*os.File
	// step does what can be done now, without waiting for long. Once more is false, it gives the
	// device nothing new.
	step(t *testing.T, more bool) (flying int)
	// end is called when the process is dead and nothing moves any more.
	end(t *testing.T)
}

// survive kills back-end processes at any moment, and at the end lets one finish.
func survive(t *testing.T, device string, g *vhostusertest.Guest, w work) {
	t.Helper()
	r := rand.New(rand.NewPCG(7, uint64(len(device))))
	path := socketIn(t)
	cut := 0
	for range kills() {
		p := start(t, device, path, w.begin(t)...)
		someDeath(r).attach(t, g, p, path)
		for !p.isDead() {
			w.step(t, true)
		}
		p.kill(t)
		if w.step(t, false) > 0 {
			cut++
		}
		assert.NilError(t, g.Detach())
		w.end(t)
	}
	t.Logf("%d of %d processes were killed with requests in flight", cut, kills())
	assert.Assert(t, cut > kills()/4, "most were killed when nothing was in flight, this proves little")

	p := start(t, device, path, w.begin(t)...)
	defer p.kill(t)
	assert.NilError(t, g.Dial(path))
	for end := time.Now().Add(patience); ; {
		flying := w.step(t, false)
		if flying == 0 {
			break
		}
		assert.Assert(t, !p.isDead(), "the back-end process died by itself")
		if time.Now().After(end) {
			t.Fatalf("%d requests are lost: the last back-end does not answer them", flying)
		}
	}
	p.kill(t)
	assert.NilError(t, g.Detach())
	w.end(t)
}

// requests keep a queue full of requests that are checked one by one. That each head comes back
// once is what Ring.Used sees to.
type requests struct {
	g       *vhostusertest.Guest
	q       *vhostusertest.Queue
	next    uint64
	answers uint64
	idle    []*request
	flying  map[uint16]*request
	fill    func(m *vhostusertest.Memory, r *request) []vhostusertest.Buffer
	check   func(m *vhostusertest.Memory, r *request, n uint32) error
}

type request struct {
	number  uint64
	out, in uint64
}

const answerRoom = 32

func newRequests(g *vhostusertest.Guest, queue int) *requests {
	w := &requests{g: g, q: g.Queues[queue], flying: make(map[uint16]*request)}
	for range w.q.Size / 2 {
		w.idle = append(w.idle, &request{out: g.Memory.Alloc(8, 1), in: g.Memory.Alloc(answerRoom, 1)})
	}
	return w
}

func (w *requests) begin(*testing.T) []*os.File { return nil }

func (w *requests) end(*testing.T) {}

func (w *requests) step(t *testing.T, more bool) int {
	t.Helper()
	m := w.g.Memory
	for more && len(w.idle) > 0 {
		r := w.idle[len(w.idle)-1]
		w.idle = w.idle[:len(w.idle)-1]
		w.next++
		r.number = w.next
		m.Write(r.in, make([]byte, answerRoom))
		head, err := w.q.Offer(w.fill(m, r)...)
		assert.NilError(t, err)
		w.flying[head] = r
	}
	if w.g.FrontEnd != nil {
		if err := w.q.Kick(); !vhostusertest.Gone(err) { // in-band to the dead
			assert.NilError(t, err)
		}
	}
	for {
		e, ok, err := w.q.Used()
		assert.NilError(t, err)
		if !ok {
			break
		}
		r := w.flying[e.Head]
		delete(w.flying, e.Head)
		assert.NilError(t, w.check(m, r, e.Len))
		w.answers++
		w.idle = append(w.idle, r)
	}
	if len(w.flying) > 0 && !w.q.Arm() {
		w.q.Wait(time.Millisecond)
	}
	return len(w.flying)
}

// some does n requests and waits for all.
func (w *requests) some(t *testing.T, n int) {
	t.Helper()
	end := time.Now().Add(patience)
	for goal := w.answers + uint64(n); w.answers < goal; {
		w.step(t, true)
		assert.Assert(t, time.Now().Before(end), "no answers to %d requests", len(w.flying))
	}
	for w.step(t, false) > 0 {
		assert.Assert(t, time.Now().Before(end), "%d requests do not come back", len(w.flying))
	}
}

func turned(g *vhostusertest.Guest, queue int) *requests {
	w := newRequests(g, queue)
	w.fill = func(m *vhostusertest.Memory, r *request) []vhostusertest.Buffer {
		m.Write(r.out, binary.LittleEndian.AppendUint64(nil, r.number))
		return []vhostusertest.Buffer{vhostusertest.Readable(r.out, 8), vhostusertest.Writable(r.in, answerRoom)}
	}
	w.check = func(m *vhostusertest.Memory, r *request, n uint32) error {
		if got := binary.LittleEndian.Uint64(m.Read(r.in, 8)); n != 8 || got != ^r.number {
			return fmt.Errorf("request %#x was answered by %#x in %d bytes", r.number, got, n)
		}
		return nil
	}
	return w
}

// A device that completes in any order, killed at any moment.
func TestVhostUser_KillBackendOutOfOrder(t *testing.T) {
	for _, notify := range []vhostusertest.Notify{vhostusertest.Eventfds, vhostusertest.Pipes, vhostusertest.InBand} {
		if t.Failed() {
			return // the others would hang, too
		}
		t.Run(notify.String(), func(t *testing.T) {
			g := newGuest(t, vhostusertest.Options{
				Sizes: []uint16{64, 64}, Regions: memories[1], Notify: notify,
				Inflight: true, EventIdx: true, Indirect: notify == vhostusertest.Pipes, Acked: notify == vhostusertest.Eventfds,
			})
			both := pair{turned(g, 0), turned(g, 1)}
			survive(t, "shuffler", g, both)
			t.Logf("%d and %d requests", both[0].answers, both[1].answers)
		})
	}
}

// pair is work on two queues.
type pair [2]*requests

func (p pair) begin(*testing.T) []*os.File { return nil }
func (p pair) end(*testing.T)              {}
func (p pair) step(t *testing.T, more bool) int {
	t.Helper()
	return p[0].step(t, more) + p[1].step(t, more)
}

// The entropy device, killed at any moment: each request is answered once, and with something.
func TestVhostUser_KillBackendRng(t *testing.T) {
	g := newGuest(t, vhostusertest.Options{Sizes: []uint16{32}, Inflight: true})
	w := newRequests(g, 0)
	w.fill = func(m *vhostusertest.Memory, r *request) []vhostusertest.Buffer {
		return []vhostusertest.Buffer{vhostusertest.Writable(r.in, answerRoom-8), vhostusertest.Writable(r.in+answerRoom-8, 8)}
	}
	w.check = func(m *vhostusertest.Memory, r *request, n uint32) error {
		got := m.Read(r.in, answerRoom)
		if n != answerRoom || bytes.Equal(got[:16], make([]byte, 16)) || bytes.Equal(got[16:], make([]byte, 16)) {
			return fmt.Errorf("answered by %x in %d bytes", got, n)
		}
		return nil
	}
	survive(t, "rng", g, w)
	t.Logf("%d requests", w.answers)
}

// The console, killed at any moment. What the guest got back as sent is at the host; what it was
// not told of is sent again, from where the transfer stands. What the host sends arrives once
// and in order, if the host goes on where the guest's last whole buffer ended: what a dead
// process had read ahead is the connection's loss, not the ring's.
func TestVhostUser_KillBackendConsole(t *testing.T) {
	for _, inflight := range []bool{true, false} {
		t.Run(fmt.Sprintf("inflight %v", inflight), func(t *testing.T) {
			g := newGuest(t, vhostusertest.Options{Sizes: []uint16{32, 32}, Regions: memories[2], Inflight: inflight, EventIdx: inflight})
			w := newTerminal(g)
			survive(t, "console", g, w)
			t.Logf("%d bytes out, %d bytes in", w.acked, w.received)
			assert.Assert(t, w.acked > 0 && (w.received > 0 || emulator.Here())) // there it may be killed before
		})
	}
}

// terminal is a transfer in both directions over a console. Both streams go on from one process
// to the next.
type terminal struct {
	g        *vhostusertest.Guest
	tx, rx   *vhostusertest.Queue
	r        *rand.Rand
	out, in  []byte // the streams as far as needed
	sent     int    // of out, offered to the device
	acked    int    // of out, returned by it
	received int    // of in
	txIdle   []uint64
	rxIdle   []uint64
	txFlying []piece // in order
	rxFlying []piece

	host   *net.UnixConn
	theirs *os.File
	began  int         // of out, where this process begins
	heard  chan []byte // all that this process sent to the host
}

type piece struct {
	head uint16
	addr uint64
	n    int
}

const pieceRoom = 700

func newTerminal(g *vhostusertest.Guest) *terminal {
	w := &terminal{g: g, tx: g.Queues[1], rx: g.Queues[0], r: rand.New(rand.NewPCG(3, 4))}
	w.out, w.in = newStream(5).next(64<<20), newStream(6).next(64<<20)
	for range 8 {
		w.txIdle = append(w.txIdle, g.Memory.Alloc(pieceRoom, 1))
		w.rxIdle = append(w.rxIdle, g.Memory.Alloc(pieceRoom, 1))
	}
	return w
}

func (w *terminal) begin(t *testing.T) []*os.File {
	t.Helper()
	ours, theirs, err := vhostusertest.SocketPair()
	assert.NilError(t, err)
	conn, err := net.FileConn(ours)
	assert.NilError(t, err)
	assert.NilError(t, ours.Close())
	w.host, w.theirs, w.began, w.heard = conn.(*net.UnixConn), theirs, w.acked, make(chan []byte, 1)
	go func(heard chan<- []byte, host io.Reader) {
		all, _ := io.ReadAll(host) // ends when the process is dead and end has closed our copy
		heard <- all
	}(w.heard, w.host)
	go func(host io.Writer, rest []byte) { host.Write(rest) }(w.host, w.in[w.received:])
	return []*os.File{theirs}
}

func (w *terminal) step(t *testing.T, more bool) int {
	t.Helper()
	m := w.g.Memory
	for more && len(w.txIdle) > 0 {
		p := piece{addr: w.txIdle[0], n: 1 + w.r.IntN(pieceRoom)}
		w.txIdle = w.txIdle[1:]
		m.Write(p.addr, w.out[w.sent:w.sent+p.n])
		w.sent += p.n
		half := uint32(p.n / 2)
		var err error
		p.head, err = w.tx.Offer(vhostusertest.Readable(p.addr, half), vhostusertest.Readable(p.addr+uint64(half), uint32(p.n)-half))
		assert.NilError(t, err)
		w.txFlying = append(w.txFlying, p)
	}
	for more && len(w.rxIdle) > 0 {
		p := piece{addr: w.rxIdle[0], n: 1 + w.r.IntN(pieceRoom)}
		w.rxIdle = w.rxIdle[1:]
		var err error
		p.head, err = w.rx.Offer(vhostusertest.Writable(p.addr, uint32(p.n)))
		assert.NilError(t, err)
		w.rxFlying = append(w.rxFlying, p)
	}
	assert.NilError(t, w.tx.Kick())
	assert.NilError(t, w.rx.Kick())
	w.take(t, w.tx, &w.txFlying, func(p piece, n uint32) {
		assert.Equal(t, n, uint32(0))
		w.acked += p.n
		w.txIdle = append(w.txIdle, p.addr)
	})
	w.take(t, w.rx, &w.rxFlying, func(p piece, n uint32) {
		assert.Assert(t, n > 0 && int(n) <= p.n)
		assert.Assert(t, bytes.Equal(m.Read(p.addr, uint64(n)), w.in[w.received:w.received+int(n)]), "what arrived at %d is something else", w.received)
		w.received += int(n)
		w.rxIdle = append(w.rxIdle, p.addr)
	})
	if !w.tx.Arm() && !w.rx.Arm() && len(w.txFlying) > 0 {
		w.tx.Wait(time.Millisecond)
	}
	return len(w.txFlying) // receive buffers are always in flight
}

// take takes what came back, which is in order.
func (w *terminal) take(t *testing.T, q *vhostusertest.Queue, flying *[]piece, done func(piece, uint32)) {
	t.Helper()
	for {
		e, ok, err := q.Used()
		assert.NilError(t, err)
		if !ok {
			return
		}
		p := (*flying)[0]
		assert.Equal(t, e.Head, p.head, "out of order")
		*flying = (*flying)[1:]
		done(p, e.Len)
	}
}

func (w *terminal) end(t *testing.T) {
	t.Helper()
	assert.NilError(t, w.theirs.Close())
	heard := await(t, w.heard, "end of the output")
	assert.NilError(t, w.host.Close())
	assert.Assert(t, w.began+len(heard) >= w.acked, "%d bytes were acknowledged, the host has %d", w.acked-w.began, len(heard))
	assert.Assert(t, bytes.Equal(heard, w.out[w.began:w.began+len(heard)]), "the host got something else")
}
