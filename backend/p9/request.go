package p9

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/hugelgupf/p9/linux"

	"github.com/hypervisorless/virtio/vring"
)

// The states of a request. Whoever wants to call one off may do so while it is private.
const (
	busy     = iota // uses the driver's memory, or changes the books: over in a moment
	private         // uses memory of its own, in a call of a File perhaps
	dropped         // called off: its message is not its own any more
	replying        // the answer is written: the tag is free as soon as the client sees it
	done
)

var (
	errDropped  = errors.New("request was called off")
	errMessage  = errors.New("message size is not that of a 9P message, or lies")
	errNoAnswer = errors.New("no room for an answer")
)

// bodySize is the most bytes of a message without its header and without a write's data: a walk
// of 16 names of 255 bytes or a symbolic link of 4095 go into it.
const bodySize = 8 << 10

// request is one message. Requests are used again, so that a message costs no allocation.
type request struct {
	session *session
	message message
	pins    int // who holds it; guarded by session.mu
	state   atomic.Uint32
	wanted  atomic.Bool // somebody waits for its next state

	table     *table // of the fids, as of the beginning; nil: no version yet
	msize     uint32
	size      uint32
	room      uint64 // for an answer
	typ       uint8
	tag       uint16
	bad       error // the header; there is no tag then
	duplicate bool  // a live request has the tag
	reserved  bool  // newFID is held for it; guarded by table.mu
	newFID    uint32
	answered  bool // the answer is in the message already, whole

	in   decoder
	out  encoder
	body [bodySize]byte
	back [bodySize]byte

	io   straight
	list listing
}

func newRequest(s *session) *request {
	r := &request{session: s}
	r.io.init()
	r.list.init()
	return r
}

// start reads the header. The session's lock is held.
func (r *request) start(m message) {
	s := r.session
	r.message, r.pins, r.table, r.msize = m, 1, s.table, s.msize
	r.state.Store(busy)
	r.wanted.Store(false)
	r.bad, r.duplicate, r.answered, r.newFID = nil, false, false, noFID
	r.room = m.Writable()
	readable := m.Readable()
	h := r.body[:headerSize]
	if n, err := m.Read(h); n < len(h) {
		if r.bad = errMessage; err != nil && err != io.EOF {
			r.bad = err
		}
		return
	}
	r.size = binary.LittleEndian.Uint32(h)
	r.typ = h[4]
	r.tag = binary.LittleEndian.Uint16(h[5:])
	limit := r.msize
	if r.table == nil {
		limit = s.dev.opts.MaxMessage
	}
	if r.size < headerSize || uint64(r.size) > readable || r.size > limit {
		r.size = 0 // known to be a lie: answered with an error, if its tag is any good
	}
	out := r.back[:headerSize:len(r.back)]
	r.out = encoder{b: out}
	if r.table != nil && uint64(cap(out)) > uint64(r.msize) {
		r.out.b = r.back[:headerSize:r.msize]
	}
}

// pending tells whether the client cannot have seen an answer yet. The session's lock is held.
func (r *request) pending() bool {
	st := r.state.Load()
	return st == busy || st == private
}

// enter lets others call the request off, until commit. Once the session has ended nobody will:
// then it does so itself.
func (r *request) enter() {
	r.state.Store(private)
	if s := r.session; s.ended.Load() {
		s.abandon(r)
	}
	r.tell()
}

// commit ends that. On false the request was called off: it may touch neither its message nor
// the books.
func (r *request) commit() bool { return r.state.CompareAndSwap(private, busy) }

// live is errDropped when the request was called off: asked before what cannot be undone, once
// the locks that may have taken long are held.
func (r *request) live() error {
	if r.state.Load() == dropped {
		return errDropped
	}
	return nil
}

// tell wakes who waits for a state of the request.
func (r *request) tell() {
	if r.wanted.Load() {
		r.session.mu.Lock()
		r.session.moved.Broadcast()
		r.session.mu.Unlock()
	}
}

// serve answers the request. What it returns is for the queue: vring.ErrShut says that the
// message was given back.
func (r *request) serve() error {
	d := r.session.dev
	if r.bad != nil {
		return r.bad
	}
	if r.room < errorSize && r.room < uint64(minReply[r.typ]) {
		return errNoAnswer
	}
	err := r.attempt()
	if !r.commit() && r.state.Load() == dropped {
		r.leave()
		return vring.ErrShut
	}
	if errors.Is(err, vring.ErrShut) || errors.Is(err, vring.ErrDone) {
		r.cancel()
		return err
	}
	if err == nil && !r.answered {
		err = r.answer()
	}
	if err != nil {
		r.cancel()
		d.errors.Add(1)
		if err := r.fail(err); err != nil {
			return err
		}
	}
	d.requests.Add(1)
	r.state.Store(replying)
	r.session.ring.finish(r.message)
	return vring.ErrShut
}

// attempt does what is asked; a panic on the way becomes EIO.
func (r *request) attempt() (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.session.panicked(r.typ, p)
			err = linux.EIO
		}
	}()
	if err := r.admit(); err != nil {
		return err
	}
	return r.dispatch()
}

// admit decides what can be decided without a look at the body, and reads it.
func (r *request) admit() error {
	s := r.session
	switch {
	case r.duplicate:
		return linux.EINVAL
	case r.size == 0:
		return linux.EMSGSIZE
	case minReply[r.typ] == 0:
		return linux.EOPNOTSUPP
	case r.room < uint64(minReply[r.typ]):
		return linux.ENOBUFS
	case r.typ == msgTversion || r.typ == msgTflush:
	case r.table == nil && s.resumed:
		return linux.ESTALE
	case r.table == nil:
		return linux.EPROTO
	case r.typ == msgTclunk: // never makes it worse
	case s.dev.crowded():
		return linux.EAGAIN
	}
	n := r.size - headerSize
	if r.typ == msgTwrite {
		n = min(n, writeSize-headerSize)
	} else if n > bodySize {
		return linux.EMSGSIZE
	}
	b := r.body[:n]
	if k, err := r.message.Read(b); err != nil && err != io.EOF {
		return err
	} else if k < len(b) {
		return linux.EMSGSIZE
	}
	r.in = decoder{b: b}
	r.enter()
	return nil
}

// notice is how long calls that were given up may take to notice it, before they are taken to
// hang: on a busy machine some may only have had no turn yet.
const notice = 50 * time.Millisecond

// crowded tells whether too many calls hang that were given up.
func (d *Device) crowded() bool {
	const look = time.Millisecond
	for waited := time.Duration(0); d.stuck.Load() >= int64(d.opts.MaxStuck); waited += look {
		if waited >= notice {
			return true
		}
		time.Sleep(look)
	}
	return false
}

// answer writes what is in out.
func (r *request) answer() error {
	if r.out.full || uint64(len(r.out.b)) > r.room {
		return linux.ENOBUFS
	}
	putHeader(r.out.b, uint32(len(r.out.b)), r.typ+1, r.tag)
	_, err := r.message.Write(r.out.b)
	return err
}

// fail writes an Rlerror.
func (r *request) fail(err error) error {
	r.message.Truncate(0)
	if r.room < errorSize {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	r.out = encoder{b: r.back[:headerSize]}
	r.out.u32(errno(err))
	putHeader(r.out.b, errorSize, msgRlerror, r.tag)
	_, err = r.message.Write(r.out.b)
	return err
}

// cancel takes back what was held for a request that did not come to anything.
func (r *request) cancel() {
	if r.table != nil {
		r.table.release(r)
	}
}

// leave is the end of a request that was called off. Whoever did it is done with the message
// when it returns.
func (r *request) leave() {
	r.session.drops.Lock()
	//lint:ignore SA2001 only to wait for who called it off
	r.session.drops.Unlock()
	r.cancel()
	r.session.dev.stuck.Add(-1)
}

// panicked counts a panic of a File, and logs the session's first.
func (s *session) panicked(typ uint8, p any) {
	s.dev.panics.Add(1)
	s.mu.Lock()
	first := !s.logged
	s.logged = true
	s.mu.Unlock()
	if first {
		s.log.Error("9p: a file panicked, further ones of the session are only counted",
			"message", typ, "panic", p, "stack", string(debug.Stack()))
	}
}

// limit is how much of count bytes of data has room in an answer that begins with head bytes.
func (r *request) limit(count uint32, head uint32) uint32 {
	room := min(r.room, math.MaxUint32)
	return min(count, r.msize-head, uint32(room)-head)
}

func (r *request) dispatch() error {
	switch r.typ {
	case msgTversion:
		return r.version()
	case msgTflush:
		return r.flush()
	case msgTattach:
		return r.attach()
	case msgTwalk:
		return r.walk()
	case msgTclunk:
		return r.clunk()
	case msgTremove:
		return r.remove()
	case msgTread:
		return r.read()
	case msgTwrite:
		return r.write()
	case msgTgetattr:
		return r.getattr()
	case msgTsetattr:
		return r.setattr()
	case msgTstatfs:
		return r.statfs()
	case msgTlopen:
		return r.lopen()
	case msgTlcreate:
		return r.lcreate()
	case msgTreaddir:
		return r.readdir()
	case msgTreadlink:
		return r.readlink()
	case msgTfsync:
		return r.fsync()
	case msgTsymlink:
		return r.symlink()
	case msgTmknod:
		return r.mknod()
	case msgTmkdir:
		return r.mkdir()
	case msgTlink:
		return r.link()
	case msgTrename:
		return r.rename()
	case msgTrenameat:
		return r.renameat()
	case msgTunlinkat:
		return r.unlinkat()
	case msgTxattrwalk:
		return r.xattrwalk()
	case msgTxattrcreate:
		return r.xattrcreate()
	case msgTlock:
		return r.lock()
	case msgTgetlock:
		return r.getlock()
	}
	return linux.EOPNOTSUPP // Tauth among them: nobody has to prove anything here
}
