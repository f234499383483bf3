package p9

import (
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"testing"

	"gotest.tools/v3/assert"
)

// session plays messages one after the other, and then ends; it fails when an answer is not
// one, or when something is left behind.
func playFuzz(t *testing.T, fs *memFS, room int, crooked bool, next func() []byte) {
	fs.put("a/b/c", "data")
	fs.put("f", "more data")
	dev, err := New(Options{Tag: "fuzz", Attacher: fs, MaxFiles: 64, MaxXattr: 4096, MaxMessage: 8192})
	assert.NilError(t, err)
	s := newSession(dev, noWires{}, slog.New(slog.DiscardHandler), false)
	p := &plain{crooked: crooked}
	ask := func(in []byte, room int) {
		p.in, p.out = in, make([]byte, 0, room)
		s.begin(p)
		if err := s.serve(p); len(p.out) == 0 {
			if err == nil {
				t.Fatalf("neither an answer nor an error to % x", in)
			}
			return
		}
		if int(binary.LittleEndian.Uint32(p.out)) != len(p.out) || p.out[4]&1 == 0 {
			t.Fatalf("% x answered by % x", in, p.out)
		}
		if len(in) >= headerSize && (p.out[5] != in[5] || p.out[6] != in[6]) {
			t.Fatalf("% x answered with another tag: % x", in, p.out)
		}
		if p.out[4] != msgRlerror && p.out[4] != in[4]+1 {
			t.Fatalf("% x answered by type %d", in, p.out[4])
		}
	}
	ask(msg(msgTversion, noTag, 8192, dialect), 64)
	ask(msg(msgTattach, 1, 0, uint32(noFID), "", "", 0), 64)
	for in := next(); in != nil; in = next() {
		ask(in, room)
	}
	if n := dev.Stats().Panics; n != 0 {
		t.Fatalf("%d panics", n)
	}
	s.end()
	if st := dev.Stats(); st.Files != 0 || st.Xattrs != 0 || st.Stuck != 0 || fs.live != 0 || fs.most > 80 {
		t.Fatalf("left behind: %+v, %d files, %d at most", st, fs.live, fs.most)
	}
	if n := len(dev.tree.root.children); n != 0 || dev.tree.root.uses != 0 {
		t.Fatalf("left in the tree: %d names, %d uses", n, dev.tree.root.uses)
	}
}

// FuzzWire is any bytes for messages: the first byte of each piece is its length.
func FuzzWire(f *testing.F) {
	for _, r := range script() {
		f.Add(append([]byte{byte(len(r.Readable))}, r.Readable...), uint16(256), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, room uint16, vectors bool) {
		fs := newMemFS()
		fs.vectors = vectors
		playFuzz(t, fs, int(room), !vectors, func() []byte {
			if len(data) == 0 {
				return nil
			}
			n := min(int(data[0]), len(data)-1)
			in := data[1 : 1+n]
			data = data[1+n:]
			return in[:n:n]
		})
	})
}

// sequence makes well-formed messages of the bytes of a fuzzer, on few fids and names.
type sequence struct{ data []byte }

func (s *sequence) byte() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

func (s *sequence) fid() int { return int(s.byte() % 6) }
func (s *sequence) name() string {
	return [...]string{"a", "b", "c", "f", "new", "x", "", ".."}[s.byte()%8]
}

func (s *sequence) next() []byte {
	if len(s.data) == 0 {
		return nil
	}
	types := [...]uint8{
		msgTversion, msgTattach, msgTflush, msgTwalk, msgTwalk, msgTwalk, msgTread, msgTwrite, msgTclunk,
		msgTremove, msgTstatfs, msgTlopen, msgTlcreate, msgTsymlink, msgTmknod, msgTrename,
		msgTreadlink, msgTgetattr, msgTsetattr, msgTxattrwalk, msgTxattrcreate, msgTreaddir,
		msgTfsync, msgTlock, msgTgetlock, msgTlink, msgTmkdir, msgTrenameat, msgTunlinkat,
	}
	typ := types[int(s.byte())%len(types)]
	const tag = 3
	switch typ {
	case msgTversion:
		if s.byte()%8 != 0 {
			return msg(msgTstatfs, tag, s.fid())
		}
		return msg(typ, noTag, 8192, dialect)
	case msgTattach:
		return msg(typ, tag, s.fid(), uint32(noFID), "", [...]string{"", "/a", "a/b", "/none"}[s.byte()%4], 0)
	case msgTflush:
		return msg(typ, tag, uint16(s.byte()))
	case msgTwalk:
		n := int(s.byte() % 4)
		fields := []any{s.fid(), s.fid(), uint16(n)}
		for range n {
			fields = append(fields, s.name())
		}
		return msg(typ, tag, fields...)
	case msgTread, msgTreaddir:
		return msg(typ, tag, s.fid(), uint64(s.byte()), int(s.byte()))
	case msgTwrite:
		p := make([]byte, s.byte())
		return msg(typ, tag, s.fid(), uint64(s.byte()), len(p), p)
	case msgTlopen:
		return msg(typ, tag, s.fid(), int(s.byte()%3))
	case msgTlcreate:
		return msg(typ, tag, s.fid(), s.name(), 2, 0644, 0)
	case msgTsymlink:
		return msg(typ, tag, s.fid(), s.name(), "target", 0)
	case msgTmknod:
		return msg(typ, tag, s.fid(), s.name(), 010644, 0, 0, 0)
	case msgTrename, msgTlink:
		return msg(typ, tag, s.fid(), s.fid(), s.name())
	case msgTgetattr:
		return msg(typ, tag, s.fid(), uint64(0x3fff))
	case msgTsetattr:
		return msg(typ, tag, s.fid(), 8, 0, 0, 0, uint64(s.byte()), uint64(0), uint64(0), uint64(0), uint64(0))
	case msgTxattrwalk:
		return msg(typ, tag, s.fid(), s.fid(), s.name())
	case msgTxattrcreate:
		return msg(typ, tag, s.fid(), s.name(), uint64(s.byte()), int(s.byte()%3))
	case msgTlock, msgTgetlock:
		fields := []any{s.fid(), s.byte() % 4}
		if typ == msgTlock {
			fields = append(fields, 0)
		}
		return msg(typ, tag, append(fields, uint64(0), uint64(0), 1, "me")...)
	case msgTmkdir:
		return msg(typ, tag, s.fid(), s.name(), 0755, 0)
	case msgTrenameat:
		return msg(typ, tag, s.fid(), s.name(), s.fid(), s.name())
	case msgTunlinkat:
		return msg(typ, tag, s.fid(), s.name(), int(s.byte()%2)*0x200)
	}
	return msg(typ, tag, s.fid(), 0)
}

// FuzzFids is any sequence of good messages: what the fids stand for stays in order.
func FuzzFids(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 8 {
		b := make([]byte, 120)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, concurrent bool) {
		fs := newMemFS()
		fs.concurrent = concurrent
		playFuzz(t, fs, 512, false, (&sequence{data}).next)
	})
}

// TestHostileCrowd sends random messages, many at a time, with few tags and fids, flushes and
// versions among them. Every one comes back, and nothing is left behind.
func TestHostileCrowd(t *testing.T) {
	for seed := range uint64(6) {
		fs := newMemFS()
		fs.concurrent, fs.vectors = seed == 1, seed == 2
		fs.mixed, fs.contrary = seed >= 3, seed >= 4
		fs.put("a/b/c", "data")
		fs.put("f", "more data")
		b := newBench(t, Options{Attacher: fs}).up()
		rng := rand.New(rand.NewPCG(seed, 7))
		for range 200 {
			for range 16 {
				bytes := make([]byte, 24)
				for i := range bytes {
					bytes[i] = byte(rng.Uint32())
				}
				in := (&sequence{bytes}).next()
				in[5] = byte(rng.IntN(8)) // of few tags
				b.offer(in, 512)
			}
			for range 16 {
				b.next()
			}
		}
		assert.Equal(t, b.dev.Stats().Panics, uint64(0))
		b.s.end()
		st := b.dev.Stats()
		assert.Equal(t, st.Files, int64(0))
		assert.Equal(t, st.Xattrs, int64(0))
		assert.Equal(t, st.Stuck, int64(0))
		assert.Equal(t, fs.live, 0)
		assert.Equal(t, len(b.dev.tree.root.children), 0)
	}
}
