package p9

import (
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hugelgupf/p9/p9"
	"gotest.tools/v3/assert"
)

// late only turns a hang into a failure.
const late = 20 * time.Second

// plain is a message in ordinary memory.
type plain struct {
	in, out []byte // what is left to read; what was written, with room to the capacity
	crooked bool   // no straight I/O
	whole   bool   // one piece
	vector  [][]byte

	back chan<- *plain
	once sync.Once
	lost bool
	err  error
}

func (p *plain) Read(b []byte) (int, error) {
	if len(p.in) == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	n := copy(b, p.in)
	p.in = p.in[n:]
	return n, nil
}

func (p *plain) Write(b []byte) (int, error) {
	n := min(len(b), cap(p.out)-len(p.out))
	p.out = append(p.out, b[:n]...)
	if n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func (p *plain) Readable() uint64 { return uint64(len(p.in)) }
func (p *plain) Writable() uint64 { return uint64(cap(p.out) - len(p.out)) }
func (p *plain) Straight() bool   { return !p.crooked }
func (p *plain) Truncate(n uint32) {
	p.out = p.out[:min(int(n), len(p.out))]
}

func (p *plain) WriteAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > int64(len(p.out)) {
		return 0, io.ErrShortWrite
	}
	return copy(p.out[off:], b), nil
}

// pieces of a buffer as a driver may have cut it.
func (p *plain) pieces(b []byte) [][]byte {
	if len(b) < 4 || p.whole {
		p.vector = append(p.vector[:0], b)
	} else {
		p.vector = append(p.vector[:0], b[:1], b[1:len(b)/2], b[len(b)/2:])
	}
	return p.vector
}

func (p *plain) Fill(n uint64, fn func([][]byte) (int, error)) (int, error) {
	room := p.out[len(p.out):cap(p.out)]
	if room = room[:min(n, uint64(len(room)))]; len(room) == 0 {
		return 0, io.ErrShortWrite
	}
	k, err := fn(p.pieces(room))
	p.out = p.out[:len(p.out)+k]
	return k, err
}

func (p *plain) Drain(n uint64, fn func([][]byte) (int, error)) (int, error) {
	have := p.in[:min(n, uint64(len(p.in)))]
	if len(have) == 0 {
		return 0, io.EOF
	}
	k, err := fn(p.pieces(have))
	p.in = p.in[k:]
	return k, err
}

// give hands the message back, as a ring would; once.
func (p *plain) give() {
	p.once.Do(func() { p.back <- p })
}

// wires carries plain messages.
type wires struct{}

func (wires) finish(m message) { m.(*plain).give() }
func (wires) drop(m message) {
	p := m.(*plain)
	p.lost, p.out = true, p.out[:0]
	p.give()
}

// bench is the engine without a ring.
type bench struct {
	t    testing.TB
	dev  *Device
	s    *session
	back chan *plain
	room int // for answers

	crooked bool
}

func newBench(t testing.TB, o Options) *bench {
	t.Helper()
	if o.Tag == "" {
		o.Tag = "test"
	}
	dev, err := New(o)
	assert.NilError(t, err)
	b := &bench{t: t, dev: dev, back: make(chan *plain, 1024), room: 8192}
	b.begin()
	t.Cleanup(func() { b.s.end() })
	return b
}

// begin begins a session.
func (b *bench) begin() {
	b.s = newSession(b.dev, wires{}, slog.New(slog.DiscardHandler), false)
}

// offer sends a message and does not wait.
func (b *bench) offer(in []byte, room int) *plain {
	p := &plain{in: in, out: make([]byte, 0, room), back: b.back, crooked: b.crooked}
	s := b.s
	s.begin(p)
	go func() {
		if err := s.serve(p); err != nil && len(p.out) == 0 {
			p.err = err
			p.give()
		}
	}()
	return p
}

// next is the next message that comes back.
func (b *bench) next() *plain {
	b.t.Helper()
	select {
	case p := <-b.back:
		return p
	case <-time.After(late):
		b.t.Fatal("no answer")
		return nil
	}
}

// ask sends a message and waits for its answer.
func (b *bench) ask(typ uint8, tag uint16, fields ...any) *answer {
	b.t.Helper()
	b.offer(msg(typ, tag, fields...), b.room)
	return read9(b.t, b.next().out)
}

// must is ask, which has to go well.
func (b *bench) must(typ uint8, fields ...any) *answer {
	b.t.Helper()
	a := b.ask(typ, 1, fields...)
	if a.typ != typ+1 {
		b.t.Fatalf("message %d: %v", typ, a)
	}
	return a
}

// fails is ask, which has to fail with an errno.
func (b *bench) fails(want error, typ uint8, fields ...any) {
	b.t.Helper()
	a := b.ask(typ, 1, fields...)
	assert.Equal(b.t, a.typ, uint8(msgRlerror), "message %d", typ)
	assert.Equal(b.t, a.u32(), errno(want), "message %d", typ)
}

// up negotiates and attaches fid 0.
func (b *bench) up() *bench {
	b.t.Helper()
	b.must(msgTversion, uint32(512<<10), dialect)
	b.must(msgTattach, uint32(0), uint32(noFID), "", "", uint32(noFID))
	return b
}

// msg makes a T-message.
func msg(typ uint8, tag uint16, fields ...any) []byte {
	b := []byte{0, 0, 0, 0, typ, byte(tag), byte(tag >> 8)}
	for _, f := range fields {
		switch v := f.(type) {
		case uint8:
			b = append(b, v)
		case uint16:
			b = binary.LittleEndian.AppendUint16(b, v)
		case int:
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		case uint32:
			b = binary.LittleEndian.AppendUint32(b, v)
		case uint64:
			b = binary.LittleEndian.AppendUint64(b, v)
		case string:
			b = binary.LittleEndian.AppendUint16(b, uint16(len(v)))
			b = append(b, v...)
		case []byte:
			b = append(b, v...)
		default:
			panic(f)
		}
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

// answer is an R-message.
type answer struct {
	typ uint8
	tag uint16
	decoder
}

// read9 takes an R-message apart; its size has to be right.
func read9(t testing.TB, b []byte) *answer {
	t.Helper()
	if len(b) < headerSize || int(binary.LittleEndian.Uint32(b)) != len(b) {
		t.Fatalf("not an R-message: % x", b)
	}
	return &answer{b[4], binary.LittleEndian.Uint16(b[5:]), decoder{b: b[7:]}}
}

func (a *answer) data() []byte { return a.take(int(a.u32())) }

func (a *answer) qid() p9.QID {
	return p9.QID{Type: p9.QIDType(a.u8()), Version: a.u32(), Path: a.u64()}
}

// dial serves a connection and gives the library's client on its other end.
func dial(t testing.TB, o Options) *p9.Client {
	t.Helper()
	b := newBench(t, o)
	near, far := net.Pipe()
	go func() {
		for p := range b.back {
			if _, err := far.Write(p.out); err != nil {
				return
			}
		}
	}()
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			head := make([]byte, 4)
			if _, err := io.ReadFull(far, head); err != nil {
				return
			}
			in := make([]byte, binary.LittleEndian.Uint32(head))
			copy(in, head)
			if _, err := io.ReadFull(far, in[4:]); err != nil {
				return
			}
			b.offer(in, 128<<10)
		}
	}()
	t.Cleanup(func() {
		near.Close()
		far.Close()
		<-served
	})
	c, err := p9.NewClient(near)
	assert.NilError(t, err)
	return c
}
