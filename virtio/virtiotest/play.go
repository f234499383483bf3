package virtiotest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/hypervisorless/virtio/vring/vringtest"
)

// flight is a request of the script under way.
type flight struct {
	what  string // for messages
	req   *Request
	q     *Queue
	head  uint16
	asked uint64 // address of the readable bytes
	reply uint64 // of the writable ones
	blank []byte // what these were before
}

// play plays a script in the given framing and judges the answers.
func (b *bench) play(w *watch, script []Request, f frame) error {
	later, err := b.start(w, script, f)
	if err != nil {
		return err
	}
	for _, fl := range later {
		if err := fl.finish(w); err != nil {
			return err
		}
	}
	for i, q := range b.queues {
		if q == nil {
			continue
		}
		if e, ok := q.Used(); ok {
			return fmt.Errorf("queue %d: chain %d came back, but is not in flight", i, e.ID)
		}
	}
	return nil
}

// start plays a script but for the answers that are deferred.
func (b *bench) start(w *watch, script []Request, f frame) (later []*flight, err error) {
	for i := range script {
		fl, err := b.send(w, i, &script[i], f)
		if err != nil {
			return nil, err
		}
		if fl.req.Deferred {
			later = append(later, fl)
		} else if err := fl.finish(w); err != nil {
			return nil, err
		}
	}
	return later, nil
}

// reach plays the script up to request at, whatever the answers say: input that a reset left on
// its way may be among them.
func (b *bench) reach(at int) (later []*flight, err error) {
	script := slices.Clone(b.Script[:at])
	for i := range script {
		script[i].Check = nil
	}
	return b.start(nil, script, plain)
}

// send makes request i available, framed by f, and lets the host's side do its part.
func (b *bench) send(w *watch, i int, req *Request, f frame) (*flight, error) {
	fl := &flight{
		what: fmt.Sprintf("request %d, on queue %d, %s", i, req.Queue, f.name),
		req:  req, q: b.queues[req.Queue],
	}
	if err := w.check(); err != nil {
		return nil, fl.error(err)
	}
	const guard = 8 // bytes of nobody's between buffers
	m := b.Memory
	fl.asked = m.Buffer(req.Readable)
	r := vringtest.Readable(fl.asked, uint32(len(req.Readable)))
	m.Alloc(guard, 1)
	fl.reply = m.Alloc(uint64(req.Writable), 1)
	m.Alloc(guard, 1)
	fl.blank = m.Read(fl.reply, uint64(req.Writable))
	wr := vringtest.Writable(fl.reply, uint32(req.Writable))
	fl.head = fl.q.prepare(f.cut(m, fl.q.Free(), r, wr)...)
	w.allow(fl.head, fl.q, vringtest.Range{Addr: fl.reply, Len: uint64(req.Writable)})
	w.look()
	fl.q.publish()
	if err := req.stimulate(); err != nil {
		return nil, fl.error(err)
	}
	return fl, nil
}

func (req *Request) stimulate() error {
	if req.Stimulus == nil {
		return nil
	}
	if err := req.Stimulus(); err != nil {
		return fmt.Errorf("stimulus: %w", err)
	}
	return nil
}

func (fl *flight) error(err error) error { return fmt.Errorf("%s: %w", fl.what, err) }

// finish waits for the answer and judges it.
func (fl *flight) finish(w *watch) error {
	if err := fl.judge(w); err != nil {
		return fl.error(err)
	}
	return nil
}

func (fl *flight) judge(w *watch) error {
	e, err := fl.q.waitFor(fl.head)
	if err != nil {
		return err
	}
	if err := w.check(); err != nil {
		return err
	}
	w.forbid(fl.head, fl.q)
	if int64(e.Len) > int64(fl.req.Writable) {
		return fmt.Errorf("used length %d, but only %d bytes are writable", e.Len, fl.req.Writable)
	}
	m := fl.q.rig.Memory
	if !bytes.Equal(m.Read(fl.asked, uint64(len(fl.req.Readable))), fl.req.Readable) {
		return errors.New("the device wrote into the readable bytes")
	}
	now := m.Read(fl.reply, uint64(fl.req.Writable))
	if !bytes.Equal(now[e.Len:], fl.blank[e.Len:]) {
		return fmt.Errorf("the device wrote behind the used length %d", e.Len)
	}
	w.look()
	if fl.req.Check == nil {
		return nil
	}
	if err := fl.req.Check(now[:e.Len]); err != nil {
		return fmt.Errorf("answer of %d bytes: %w", e.Len, err)
	}
	return nil
}

// watch looks at all of the memory for bytes that change and are not the device's to write: that
// is all but its rings and the writable bytes of chains in flight. A nil watch looks nowhere:
// it is slow where much is tried.
type watch struct {
	b      *bench
	before *vringtest.Snapshot
	free   map[place]vringtest.Range // of the chains in flight
}

type place struct {
	q    *Queue
	head uint16
}

func (w *watch) allow(head uint16, q *Queue, r vringtest.Range) {
	if w == nil {
		return
	}
	if w.free == nil {
		w.free = make(map[place]vringtest.Range)
	}
	w.free[place{q, head}] = r
}

func (w *watch) forbid(head uint16, q *Queue) {
	if w != nil {
		delete(w.free, place{q, head})
	}
}

// look takes note of the memory as it is. The driver writes nothing but indexes from here to
// the check.
func (w *watch) look() {
	if w != nil {
		w.before = w.b.Memory.Snapshot()
	}
}

func (w *watch) check() error {
	if w == nil || w.before == nil {
		return nil
	}
	free := w.b.rings()
	for _, r := range w.free {
		free = append(free, r)
	}
	if err := w.before.Changed(free...); err != nil {
		return fmt.Errorf("the device wrote where it must not: %w", err)
	}
	return nil
}

// rings are the parts of the rings that change with no descriptor: used rings, and the words
// that the driver itself keeps storing.
func (b *bench) rings() (all []vringtest.Range) {
	for _, q := range b.queues {
		if q == nil {
			continue
		}
		all = append(all, q.UsedRange(),
			vringtest.Range{Addr: q.Avail, Len: 4},
			vringtest.Range{Addr: q.Avail + 4 + 2*uint64(q.Size), Len: 2})
	}
	return all
}
