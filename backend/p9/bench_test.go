package p9

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// share is a directory in memory with one file of 1 MiB.
func benchDir(tb testing.TB) string {
	tb.Helper()
	path, err := os.MkdirTemp("/dev/shm", "p9bench")
	if err != nil {
		path = tb.TempDir()
	} else {
		tb.Cleanup(func() { os.RemoveAll(path) })
	}
	assert.NilError(tb, os.WriteFile(filepath.Join(path, "file"), make([]byte, 1<<20), 0644))
	return path
}

// benchWork is what is measured: each is one message, on fid 1, which is the open file.
func benchWork() []struct {
	name  string
	in    []byte
	room  int
	bytes int64
} {
	type work = struct {
		name  string
		in    []byte
		room  int
		bytes int64
	}
	list := []work{{"getattr", msg(msgTgetattr, 1, 1, uint64(0x7ff)), 256, 0}}
	for _, n := range []int{4 << 10, 64 << 10} {
		list = append(list,
			work{fmt.Sprintf("read%dK", n>>10), msg(msgTread, 1, 1, uint64(0), n), 11 + n, int64(n)},
			work{fmt.Sprintf("write%dK", n>>10), msg(msgTwrite, 1, 1, uint64(0), n, make([]byte, n)), 11, int64(n)})
	}
	return list
}

// nullFS costs nothing, so what is measured on it is the server.
type nullFS struct{ p9.File }

func (f nullFS) Attach() (p9.File, error) { return f, nil }
func (f nullFS) Concurrent()              {}
func (f nullFS) Close() error             { return nil }

func (f nullFS) Walk(names []string) ([]p9.QID, p9.File, error) {
	return make([]p9.QID, len(names)), f, nil
}

func (f nullFS) WalkGetAttr(names []string) ([]p9.QID, p9.File, p9.AttrMask, p9.Attr, error) {
	return make([]p9.QID, len(names)), f, p9.AttrMaskAll, p9.Attr{Mode: p9.ModeRegular}, nil
}

func (f nullFS) GetAttr(req p9.AttrMask) (p9.QID, p9.AttrMask, p9.Attr, error) {
	return p9.QID{Type: p9.TypeDir}, req, p9.Attr{Mode: p9.ModeDirectory}, nil
}

func (f nullFS) Open(p9.OpenFlags) (p9.QID, uint32, error)   { return p9.QID{}, 0, nil }
func (f nullFS) ReadAt(p []byte, _ int64) (int, error)       { return len(p), nil }
func (f nullFS) WriteAt(p []byte, _ int64) (int, error)      { return len(p), nil }
func (f nullFS) ReadVecAt(v [][]byte, _ int64) (int, error)  { return total(v), nil }
func (f nullFS) WriteVecAt(v [][]byte, _ int64) (int, error) { return total(v), nil }
func (f nullFS) Step(name string) (p9.File, p9.QID, error)   { return f, p9.QID{}, nil }

// benchTrees are what the servers are compared on.
func benchTrees(b *testing.B, f func(b *testing.B, a p9.Attacher)) {
	b.Run("null", func(b *testing.B) { f(b, nullFS{}) })
	b.Run("dir", func(b *testing.B) { f(b, benchTree(b)) })
}

// alone is the engine on a message that is used again and again.
type alone struct{ b *bench }

func newAlone(tb testing.TB, a p9.Attacher) *alone {
	b := newBench(tb, Options{Attacher: a}).up()
	b.must(msgTwalk, 0, 1, uint16(1), "file")
	b.must(msgTlopen, 1, 2)
	b.s.ring = noWires{}
	return &alone{b}
}

type noWires struct{}

func (noWires) finish(message) {}
func (noWires) drop(message)   {}

func (a *alone) do(p *plain, in []byte) {
	p.in, p.out = in, p.out[:0]
	a.b.s.begin(p)
	a.b.s.serve(p)
}

func BenchmarkP9Engine(b *testing.B) { benchTrees(b, benchEngine) }

func benchEngine(b *testing.B, tree p9.Attacher) {
	for _, w := range benchWork() {
		b.Run(w.name, func(b *testing.B) {
			a := newAlone(b, tree)
			// As Linux has it for what is large: data in pages of their own behind the header.
			page := make([]byte, w.room+3*4096)
			pad := 4096 - int(uintptr(reflect.ValueOf(page).Pointer())%4096) + 4096 - readSize
			p := &plain{out: page[pad : pad : pad+w.room][:0], whole: true}
			b.SetBytes(w.bytes)
			b.ReportAllocs()
			for b.Loop() {
				a.do(p, w.in)
			}
			if p.out[4] == msgRlerror {
				b.Fatal(read9(b, p.out))
			}
		})
	}
}

// BenchmarkWalkClunk is one name there and back: what a File and its name cost.
func BenchmarkWalkClunk(b *testing.B) { benchTrees(b, benchWalk) }

func benchWalk(b *testing.B, tree p9.Attacher) {
	a := newAlone(b, tree)
	walk, clunk := msg(msgTwalk, 1, 0, 2, uint16(1), "file"), msg(msgTclunk, 1, 2)
	p := &plain{out: make([]byte, 0, 64)}
	b.ReportAllocs()
	for b.Loop() {
		a.do(p, walk)
		a.do(p, clunk)
	}
}

// source feeds the library's server, one message behind the answer to the one before.
type source struct {
	in    []byte
	n     int
	msgs  [][]byte
	queue [][]byte
	turn  chan bool
}

func (s *source) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		<-s.turn
		switch {
		case len(s.queue) > 0:
			s.in, s.queue = s.queue[0], s.queue[1:]
		case s.n > 0:
			s.n--
			s.in = s.msgs[s.n%len(s.msgs)]
		default:
			s.turn <- true
			return 0, io.EOF
		}
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *source) Close() error { return nil }

// sink sees where an answer ends, and that it is a good one.
type sink struct {
	tb   testing.TB
	turn chan bool
	head []byte
	left int
}

func (s *sink) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if s.left == 0 {
			k := min(5-len(s.head), len(rest))
			s.head = append(s.head, rest[:k]...)
			if rest = rest[k:]; len(s.head) < 5 {
				break
			}
			if s.head[4] == msgRlerror {
				s.tb.Errorf("the library answered with an error")
			}
			s.left = int(binary.LittleEndian.Uint32(s.head)) - 5
			s.head = s.head[:0]
		}
		k := min(s.left, len(rest))
		rest = rest[k:]
		if s.left -= k; s.left == 0 {
			s.turn <- true
		}
	}
	return len(p), nil
}

func (s *sink) Close() error { return nil }

func libraryServes(b *testing.B, tree p9.Attacher, msgs ...[]byte) {
	srv := p9.NewServer(tree)
	turn := make(chan bool, 1)
	turn <- true
	s := &source{msgs: msgs, n: b.N, turn: turn, queue: [][]byte{
		msg(msgTversion, 1, 512<<10, dialect), msg(msgTattach, 1, 0, uint32(noFID), "", "", 0),
		msg(msgTwalk, 1, 0, 1, uint16(1), "file"), msg(msgTlopen, 1, 1, 2),
	}}
	b.ReportAllocs()
	b.ResetTimer()
	srv.Handle(s, &sink{tb: b, turn: turn})
}

// BenchmarkLibrary9P is the library's own server, on the same messages and the same files.
func BenchmarkLibrary9P(b *testing.B) { benchTrees(b, benchLibrary) }

func benchLibrary(b *testing.B, tree p9.Attacher) {
	for _, w := range benchWork() {
		b.Run(w.name, func(b *testing.B) {
			b.SetBytes(w.bytes)
			libraryServes(b, tree, w.in)
		})
	}
	b.Run("walkclunk", func(b *testing.B) {
		b.N *= 2
		libraryServes(b, tree, msg(msgTclunk, 1, 2), msg(msgTwalk, 1, 0, 2, uint16(1), "file"))
		b.N /= 2
	})
}

// BenchmarkHostFile is what the host's system calls cost, with the copy that a device without
// straight I/O has to make.
func BenchmarkHostFile(b *testing.B) {
	fd, err := unix.Open(filepath.Join(benchDir(b), "file"), unix.O_RDWR, 0)
	assert.NilError(b, err)
	defer unix.Close(fd)
	for _, n := range []int{4 << 10, 64 << 10} {
		file, ring := make([]byte, n), make([]byte, n)
		b.Run(fmt.Sprintf("read%dK", n>>10), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				unix.Pread(fd, file, 0)
				copy(ring, file)
			}
		})
		b.Run(fmt.Sprintf("write%dK", n>>10), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				copy(file, ring)
				unix.Pwrite(fd, file, 0)
			}
		})
	}
	b.Run("stat", func(b *testing.B) {
		var st unix.Stat_t
		for b.Loop() {
			unix.Fstat(fd, &st)
		}
	})
}

func benchTree(tb testing.TB) p9.Attacher {
	tb.Helper()
	x, err := Dir(benchDir(tb), DirOptions{})
	assert.NilError(tb, err)
	tb.Cleanup(func() { x.Close() })
	return x
}

// BenchmarkP9Device is the whole way: a chain, a kick, a goroutine, a used buffer, a
// notification.
func BenchmarkP9Device(b *testing.B) {
	for _, w := range benchWork() {
		b.Run(w.name, func(b *testing.B) {
			d := newDriver(b, Options{Attacher: benchTree(b)}, virtiotest.Options{Buffers: 1 << 20})
			d.up()
			d.must(msgTwalk, 0, 1, uint16(1), "file")
			d.must(msgTlopen, 1, 2)
			q, m := d.Queue(0), d.Memory
			// As Linux has it for what is large: data in pages of their own behind the header.
			head, room := min(len(w.in), writeSize), min(w.room, readSize)
			data := m.Alloc(uint64(len(w.in)-head), 4096)
			m.Write(data, w.in[head:])
			q.Chain(0, vringtest.Readable(m.Buffer(w.in[:head]), uint32(head)),
				vringtest.Readable(data, uint32(len(w.in)-head)),
				vringtest.Writable(m.Alloc(uint64(room), 1), uint32(room)),
				vringtest.Writable(m.Alloc(uint64(w.room-room), 4096), uint32(w.room-room)))
			b.SetBytes(w.bytes)
			b.ReportAllocs()
			for b.Loop() {
				q.Ring.Offer(0)
				d.Device.Kick()
				for {
					if e, ok := q.Used(); ok {
						if int(e.Len) != w.room && w.bytes > 0 {
							b.Fatal(e)
						}
						break
					}
					runtime.Gosched()
				}
			}
		})
	}
}
