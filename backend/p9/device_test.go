package p9

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// driver is a device on the kit's bench, with its driver.
type driver struct {
	*virtiotest.Rig
	t   testing.TB
	dev *Device
}

func newDriver(t testing.TB, o Options, ro virtiotest.Options) *driver {
	t.Helper()
	if o.Tag == "" {
		o.Tag = "test"
	}
	dev, err := New(o)
	assert.NilError(t, err)
	if ro.Buffers == 0 {
		ro.Buffers = 1 << 20
	}
	d := &driver{Rig: virtiotest.NewRig(t, dev, ro), t: t, dev: dev}
	d.start()
	t.Cleanup(func() { assert.NilError(t, d.Reset()) })
	return d
}

func (d *driver) start() {
	d.t.Helper()
	assert.NilError(d.t, d.Up(virtio.FeatureSet(virtio.Version1, virtio.IndirectDesc, MountTag)))
}

// ask sends a request in one readable and one writable buffer.
func (d *driver) ask(room int, in []byte) []byte {
	d.t.Helper()
	reply, err := d.Queue(0).Do(in, room)
	assert.NilError(d.t, err)
	return reply
}

func (d *driver) must(typ uint8, fields ...any) *answer {
	d.t.Helper()
	a := read9(d.t, d.ask(8192, msg(typ, 1, fields...)))
	assert.Equal(d.t, a.typ, typ+1)
	return a
}

func (d *driver) up() {
	d.t.Helper()
	d.must(msgTversion, uint32(512<<10), dialect)
	d.must(msgTattach, 0, uint32(noFID), "", "", uint32(noFID))
}

func TestP9_01_OneQueueAndMountTag(t *testing.T) {
	d, err := New(Options{Tag: "x", Attacher: newMemFS()})
	assert.NilError(t, err)
	info := d.Info()
	assert.Equal(t, info.ID, virtio.ID9P)
	assert.Equal(t, uint32(info.ID), uint32(9))
	assert.Equal(t, info.Features, virtio.FeatureSet(0))
	assert.Equal(t, len(info.Queues), 1)
}

func TestP9_02_Tag(t *testing.T) {
	for _, n := range []int{1, 31, 255} {
		tag := strings.Repeat("t", n-1) + "!"
		d := newDriver(t, Options{Tag: tag, Attacher: newMemFS()}, virtiotest.Options{})
		assert.Equal(t, d.dev.Info().ConfigLen, 2+n)
		got := make([]byte, 2+n)
		for i := range got { // byte by byte, as drivers do
			d.Device.ReadConfig(got[i:i+1], i)
		}
		assert.Equal(t, binary.LittleEndian.Uint16(got), uint16(n))
		assert.Equal(t, string(got[2:]), tag)
	}
	for _, tag := range []string{"", strings.Repeat("t", 256), "a\x00b"} {
		_, err := New(Options{Tag: tag, Attacher: newMemFS()})
		assert.ErrorContains(t, err, "mount tag")
	}
}

// TestP9_03_AnyLayout cuts a write and a read at every byte: the messages, and the room for the
// answers.
func TestP9_03_AnyLayout(t *testing.T) {
	for _, tt := range []struct {
		name string
		fs   func(*memFS)
		opts virtiotest.Options
	}{
		{"locked", func(*memFS) {}, virtiotest.Options{}},
		{"straight", func(fs *memFS) { fs.vectors = true }, virtiotest.Options{}},
		{"device memory", func(fs *memFS) { fs.vectors = true }, virtiotest.Options{Strict: 8}},
		{"legacy", func(fs *memFS) { fs.vectors = true }, virtiotest.Options{Legacy: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.opts.Strict > 0 && raceEnabled {
				t.Skip("memory of the Go heap: the race detector sees driver and device share it")
			}
			fs := newMemFS()
			tt.fs(fs)
			file := fs.put("file", "")
			d := newDriver(t, Options{Attacher: fs}, tt.opts)
			d.up()
			d.must(msgTwalk, 0, 1, uint16(1), "file")
			d.must(msgTlopen, 1, 2)
			for cut := 1; cut < 40; cut++ {
				text := fmt.Sprintf("%02d bytes are before the cut", cut)
				in := msg(msgTwrite, 7, 1, uint64(0), len(text), []byte(text))
				out := d.cut(in, 11, cut)
				assert.DeepEqual(t, out, msg(msgTwrite+1, 7, len(text)))
				assert.Equal(t, fs.data(file), text)
				out = d.cut(msg(msgTread, 8, 1, uint64(0), 1000), 200, cut)
				assert.DeepEqual(t, out, msg(msgTread+1, 8, len(text), []byte(text)))
			}
		})
	}
}

// cut sends a request whose two parts are in two buffers each.
func (d *driver) cut(in []byte, room, at int) []byte {
	d.t.Helper()
	q, m := d.Queue(0), d.Memory
	var chain []vringtest.Desc
	at1 := min(at, len(in))
	for _, p := range [][]byte{in[:at1], in[at1:]} {
		chain = append(chain, vringtest.Readable(m.Buffer(p), uint32(len(p))))
	}
	out := m.Alloc(uint64(room), 1)
	at2 := min(at, room)
	gap := m.Alloc(uint64(room), 1)
	chain = append(chain, vringtest.Writable(out, uint32(at2)), vringtest.Writable(gap, uint32(room-at2)))
	q.Offer(chain...)
	e, err := q.Wait()
	assert.NilError(d.t, err)
	reply := slices.Concat(m.Read(out, uint64(at2)), m.Read(gap, uint64(room-at2)))
	return reply[:e.Len]
}

func TestP9_04_SizeLies(t *testing.T) {
	d := newDriver(t, Options{Attacher: newMemFS()}, virtiotest.Options{})
	sized := func(n uint32, in []byte) []byte {
		binary.LittleEndian.PutUint32(in, n)
		return in
	}
	refused := func(in []byte) {
		t.Helper()
		a := read9(t, d.ask(64, in))
		assert.Equal(t, a.typ, uint8(msgRlerror))
		assert.Equal(t, a.tag, uint16(1))
		assert.Equal(t, a.u32(), uint32(linux.EMSGSIZE))
	}
	version := func() []byte { return msg(msgTversion, 1, uint32(8192), dialect) }
	for _, n := range []uint32{0, 6, uint32(len(version())) + 1, 1 << 31, 1<<32 - 1} {
		refused(sized(n, version()))
	}
	d.must(msgTversion, uint32(8192), dialect)
	d.must(msgTattach, 0, uint32(noFID), "", "", 0)
	refused(msg(msgTwrite, 1, 0, uint64(0), 9000, make([]byte, 9000))) // beyond msize
	refused(msg(msgTwrite, 1, 0, uint64(0), 9, []byte("eight...")))    // beyond the message
	refused(msg(msgTclunk, 1, make([]byte, 8192)))                     // nothing is so long
	// A header that is not even there has no tag that an answer could name.
	for n := range 7 {
		assert.Equal(t, len(d.ask(64, make([]byte, n))), 0)
	}
	// What is behind the size is nobody's business.
	a := read9(t, d.ask(256, append(msg(msgTgetattr, 9, 0, uint64(1)), "junk"...)))
	assert.Equal(t, a.typ, uint8(msgTgetattr+1))
	// One that is too short for its fields.
	a = read9(t, d.ask(256, msg(msgTgetattr, 9, 0)))
	assert.Equal(t, a.u32(), uint32(linux.EBADMSG))
}

func TestP9_05_AnswerFits(t *testing.T) {
	fs := newMemFS()
	fs.put("file", "0123456789")
	d := newDriver(t, Options{Attacher: fs}, virtiotest.Options{})
	d.up()
	d.must(msgTwalk, 0, 1, uint16(1), "file")
	d.must(msgTlopen, 1, 2)
	for _, room := range []int{0, 1, 6, 7, 10} {
		assert.Equal(t, len(d.ask(room, msg(msgTgetattr, 1, 1, uint64(1)))), 0)
	}
	for _, room := range []int{11, 100, 159} {
		a := read9(t, d.ask(room, msg(msgTgetattr, 1, 1, uint64(1))))
		assert.Equal(t, a.u32(), uint32(linux.ENOBUFS))
	}
	assert.Equal(t, len(d.ask(160, msg(msgTgetattr, 1, 1, uint64(1)))), 160)
	// A read gives as much as there is room for.
	for room := 12; room < 30; room++ {
		a := read9(t, d.ask(room, msg(msgTread, 1, 1, uint64(0), 1000)))
		assert.Equal(t, string(a.data()), "0123456789"[:min(10, room-11)])
	}
	// What changes something is not done when that could not be told.
	assert.Equal(t, len(d.ask(6, msg(msgTunlinkat, 1, 0, "file", 0))), 0)
	a := read9(t, d.ask(19, msg(msgTmkdir, 1, 0, "dir", 0755, 0)))
	assert.Equal(t, a.u32(), uint32(linux.ENOBUFS))
	assert.Equal(t, len(fs.root.children), 1)
	// Short answers need no room for an error.
	assert.Equal(t, len(d.ask(7, msg(msgTfsync, 1, 1, 0))), 7)
	assert.Equal(t, len(d.ask(7, msg(msgTfsync, 1, 99, 0))), 0)
}

// blocker is a file whose reads block until they are let go.
type blocker struct {
	arrived chan struct{}
	release chan struct{}
}

func newBlocker(fs *memFS, name, call string) *blocker {
	b := &blocker{make(chan struct{}, 1000), make(chan struct{})}
	fs.hold = func(f *memFile, c string) {
		if c == call && f.name == name {
			b.arrived <- struct{}{}
			<-b.release
		}
	}
	return b
}

// TestP9_06_BlockedRead has a read that does not come back: it hinders neither another fid nor
// the Tflush that calls it off, nor a reset.
func TestP9_06_BlockedRead(t *testing.T) {
	for _, concurrent := range []bool{false, true} {
		t.Run(fmt.Sprintf("concurrent %v", concurrent), func(t *testing.T) {
			fs := newMemFS()
			fs.concurrent = concurrent
			fs.put("slow", "data")
			fs.put("quick", "data")
			slow := newBlocker(fs, "slow", "ReadAt")
			d := newDriver(t, Options{Attacher: fs}, virtiotest.Options{})
			free := sync.OnceFunc(func() { close(slow.release) })
			defer free()
			d.up()
			for i, name := range []string{"slow", "quick"} {
				d.must(msgTwalk, 0, i+1, uint16(1), name)
				d.must(msgTlopen, i+1, 0)
			}
			q := d.Queue(0)
			send := func(in []byte) (head uint16, out uint64) {
				out = d.Memory.Alloc(64, 1)
				return q.Offer(vringtest.Readable(d.Memory.Buffer(in), uint32(len(in))), vringtest.Writable(out, 64)), out
			}
			wait := func() vringtest.Elem {
				t.Helper()
				e, err := q.Wait()
				assert.NilError(t, err)
				return e
			}
			old, out := send(msg(msgTread, 5, 1, uint64(0), 4))
			<-slow.arrived
			other, _ := send(msg(msgTread, 6, 2, uint64(0), 4))
			assert.DeepEqual(t, wait(), vringtest.Elem{ID: uint32(other), Len: 15}) // out of order
			before := d.Memory.Read(out, 64)

			flush, _ := send(msg(msgTflush, 9, uint16(5)))
			assert.DeepEqual(t, wait(), vringtest.Elem{ID: uint32(old), Len: 0}) // first the old one
			assert.DeepEqual(t, wait(), vringtest.Elem{ID: uint32(flush), Len: 7})
			assert.Equal(t, d.dev.Stats().Stuck, int64(1))

			again, out2 := send(msg(msgTread, 5, 1, uint64(0), 4)) // the tag is free again
			<-slow.arrived
			assert.NilError(t, d.Reset())
			free()
			d.Await(func() bool { return d.dev.Stats().Stuck == 0 && d.dev.Stats().Files == 0 })
			st := d.dev.Stats()
			assert.Equal(t, st.Stuck, int64(0))
			assert.Equal(t, st.Files, int64(0))
			assert.Equal(t, st.Flushed, uint64(2))
			assert.DeepEqual(t, d.Memory.Read(out, 64), before)
			_, _ = again, out2
			d.start()
			d.up()
		})
	}
}

// TestP9_06_FlushWhileAnswering flushes requests at every moment: the old one is always back
// before its Rflush, with an answer or without.
func TestP9_06_FlushWhileAnswering(t *testing.T) {
	fs := newMemFS()
	fs.put("file", "data")
	d := newDriver(t, Options{Attacher: fs}, virtiotest.Options{Buffers: 4 << 20})
	d.up()
	q := d.Queue(0)
	for i := range 2000 {
		in := msg(msgTwalk, 5, 0, 1, uint16(1), "file")
		out := d.Memory.Alloc(32, 1)
		old := q.Offer(vringtest.Readable(d.Memory.Buffer(in), uint32(len(in))), vringtest.Writable(out, 32))
		in = msg(msgTflush, 6, uint16(5))
		flush := q.Offer(vringtest.Readable(d.Memory.Buffer(in), uint32(len(in))),
			vringtest.Writable(d.Memory.Alloc(7, 1), 7))
		e, err := q.Wait()
		assert.NilError(t, err)
		assert.Equal(t, e.ID, uint32(old), "round %d: Rflush first", i)
		reply := d.Memory.Read(out, uint64(e.Len))
		// The client believes that there is a fid 1 if and only if it was told.
		made := len(reply) > 0 && reply[4] == msgTwalk+1
		e, err = q.Wait()
		assert.NilError(t, err)
		assert.Equal(t, e.ID, uint32(flush))
		a := read9(t, d.ask(11, msg(msgTclunk, 1, 1)))
		assert.Equal(t, a.typ == msgTclunk+1, made, "round %d: % x, then %d %v", i, reply, a.typ, a.b)
	}
}

func TestP9_06_DuplicateTag(t *testing.T) {
	fs := newMemFS()
	fs.put("slow", "data")
	slow := newBlocker(fs, "slow", "ReadAt")
	b := newBench(t, Options{Attacher: fs}).up()
	b.must(msgTwalk, 0, 1, uint16(1), "slow")
	b.must(msgTlopen, 1, 0)
	first := b.offer(msg(msgTread, 5, 1, uint64(0), 4), 64)
	<-slow.arrived
	second := b.offer(msg(msgTstatfs, 5, 0), 256)
	assert.Equal(t, b.next(), second)
	a := read9(t, second.out)
	assert.Equal(t, a.typ, uint8(msgRlerror))
	assert.Equal(t, a.u32(), uint32(linux.EINVAL))
	close(slow.release)
	assert.Equal(t, b.next(), first)
	assert.Equal(t, string(read9(t, first.out).data()), "data")
}

// TestP9_06_FlushEachOther must not lock up.
func TestP9_06_FlushEachOther(t *testing.T) {
	b := newBench(t, Options{Attacher: newMemFS()}).up()
	for range 300 {
		for i := range 8 {
			b.offer(msg(msgTflush, uint16(10+i), uint16(10+(i+1)%8)), 64)
		}
		for range 8 {
			b.next()
		}
	}
	b.must(msgTstatfs, 0)
}

func TestP9_07_VersionResets(t *testing.T) {
	fs := newMemFS()
	fs.put("slow", "data")
	slow := newBlocker(fs, "slow", "ReadAt")
	b := newBench(t, Options{Attacher: fs}).up()
	b.must(msgTwalk, 0, 1, uint16(1), "slow")
	b.must(msgTlopen, 1, 0)
	old := b.offer(msg(msgTread, 5, 1, uint64(0), 4), 64)
	<-slow.arrived
	b.offer(msg(msgTversion, noTag, uint32(8192), dialect), 64)
	assert.Equal(t, b.next(), old)
	assert.Assert(t, old.lost)
	a := read9(t, b.next().out)
	assert.Equal(t, a.typ, uint8(msgTversion+1))
	b.fails(linux.EBADF, msgTgetattr, 1, uint64(1))
	b.fails(linux.EBADF, msgTgetattr, 0, uint64(1))
	close(slow.release)
	b.must(msgTattach, 0, uint32(noFID), "", "", 0)
	b.s.end()
	assert.Equal(t, b.dev.Stats().Files, int64(0))
	fs.mu.Lock()
	defer fs.mu.Unlock()
	assert.Equal(t, fs.live, 0)
}

const noTag = 0xffff

func TestP9_07_DeviceReset(t *testing.T) {
	fs := newMemFS()
	fs.put("dir/file", "data")
	d := newDriver(t, Options{Attacher: fs}, virtiotest.Options{})
	d.up()
	d.must(msgTwalk, 0, 1, uint16(2), "dir", "file")
	assert.NilError(t, d.Reset())
	assert.Equal(t, d.dev.Stats().Files, int64(0))
	d.start()
	a := read9(t, d.ask(64, msg(msgTgetattr, 1, 0, uint64(1))))
	assert.Equal(t, a.typ, uint8(msgRlerror))
	d.up()
	d.must(msgTwalk, 0, 1, uint16(2), "dir", "file")
}

func TestP9_07_Negotiation(t *testing.T) {
	b := newBench(t, Options{Attacher: newMemFS(), MaxMessage: 64 << 10})
	b.fails(linux.EPROTO, msgTattach, 0, uint32(noFID), "", "", 0)
	b.fails(linux.EMSGSIZE, msgTversion, uint32(4095), dialect)
	for _, tt := range []struct {
		asked  uint32
		said   string
		msize  uint32
		answer string
	}{
		{4096, dialect, 4096, dialect},
		{1 << 31, dialect, 64 << 10, dialect},
		{8192, dialect + ".Google.7", 8192, dialect},
		{8192, "9P2000.Lx", 8192, "unknown"},
		{8192, "9P2000", 8192, "unknown"},
		{8192, "", 8192, "unknown"},
	} {
		a := b.must(msgTversion, tt.asked, tt.said)
		assert.Equal(t, a.u32(), tt.msize)
		assert.Equal(t, string(a.str()), tt.answer)
	}
	b.fails(linux.EPROTO, msgTattach, 0, uint32(noFID), "", "", 0)
}

// TestP9_08_Modes sees setuid and its like through to the File.
func TestP9_08_Modes(t *testing.T) {
	fs := newMemFS()
	file := fs.put("file", "")
	b := newBench(t, Options{Attacher: fs}).up()
	b.must(msgTwalk, 0, 1, uint16(1), "file")
	b.must(msgTsetattr, 1, 1, 0106755, 0, 0, uint64(0), uint64(0), uint64(0), uint64(0), uint64(0))
	assert.Equal(t, file.mode, p9.ModeRegular|06755)
	b.must(msgTmkdir, 0, "dir", 042775, 0)
	assert.Equal(t, fs.root.children["dir"].mode, p9.ModeDirectory|02775)
	b.must(msgTmknod, 0, "fifo", 010644, 0, 0, 0)
	assert.Equal(t, fs.root.children["fifo"].mode, p9.ModeNamedPipe|0644)
}

// TestP9_08_Limits reaches every limit, and finds the way back.
func TestP9_08_Limits(t *testing.T) {
	fs := newMemFS()
	file := fs.put("file", "")
	file.xattrs["user.big"] = make([]byte, 60<<10)
	b := newBench(t, Options{Attacher: fs, MaxFiles: 10, MaxXattr: 100 << 10}).up()
	n := 1
	for ; b.ask(msgTwalk, 1, 0, n, uint16(1), "file").typ == msgTwalk+1; n++ {
	}
	assert.Equal(t, n, 10)
	b.fails(linux.ENFILE, msgTwalk, 0, 100, uint16(0))
	b.fails(linux.ENFILE, msgTattach, 100, uint32(noFID), "", "", 0)
	b.must(msgTclunk, 9)
	b.must(msgTxattrwalk, 1, 100, "user.big")
	b.must(msgTclunk, 8)
	b.fails(linux.ENOMEM, msgTxattrwalk, 1, 101, "user.big")
	b.fails(linux.ENOMEM, msgTxattrcreate, 2, "user.x", uint64(60<<10), 0)
	b.fails(linux.E2BIG, msgTxattrcreate, 2, "user.x", uint64(1<<40), 0)
	b.must(msgTclunk, 100)
	b.must(msgTxattrcreate, 2, "user.x", uint64(60<<10), 0)
	b.must(msgTclunk, 7)
	assert.Equal(t, b.ask(msgTclunk, 1, 2).typ, uint8(msgRlerror)) // never written
	assert.Equal(t, b.dev.Stats().Xattrs, int64(0))
}

// TestP9_08_Stuck bounds the calls that nobody waits for any more.
func TestP9_08_Stuck(t *testing.T) {
	fs := newMemFS()
	fs.put("slow", "data")
	slow := newBlocker(fs, "slow", "ReadAt")
	b := newBench(t, Options{Attacher: fs, MaxStuck: 3}).up()
	b.must(msgTwalk, 0, 1, uint16(1), "slow")
	b.must(msgTlopen, 1, 0)
	for range 3 {
		b.offer(msg(msgTread, 5, 1, uint64(0), 4), 64)
		<-slow.arrived
		b.offer(msg(msgTflush, 6, uint16(5)), 64)
		b.next()
		b.next()
	}
	b.fails(linux.EAGAIN, msgTstatfs, 0)
	b.must(msgTclunk, 1)
	close(slow.release)
	for b.dev.Stats().Stuck > 0 {
		b.must(msgTversion, uint32(8192), dialect)
	}
	b.must(msgTattach, 0, uint32(noFID), "", "", 0)
}

// TestDRV_41_Nonsense is what no driver should send. Each costs its request, with the error that
// says what was wrong.
func TestDRV_41_Nonsense(t *testing.T) {
	fs := newMemFS()
	fs.put("dir/file", "0123456789")
	b := newBench(t, Options{Attacher: fs}).up()
	b.must(msgTwalk, 0, 1, uint16(2), "dir", "file")
	b.must(msgTlopen, 1, 2)
	b.must(msgTwalk, 0, 2, uint16(0))
	b.must(msgTlopen, 2, 0)
	long := strings.Repeat("n", 256)
	names := func(n int) (f []any) {
		f = append(f, 0, 9, uint16(n))
		for range n {
			f = append(f, "dir")
		}
		return f
	}
	for _, tt := range []struct {
		name   string
		want   linux.Errno
		typ    uint8
		fields []any
	}{
		{"walk of 17 names", linux.EINVAL, msgTwalk, names(17)},
		{"walk of more than there are", linux.EINVAL, msgTwalk, []any{0, 9, uint16(3), "dir"}},
		{"name with a slash", linux.EINVAL, msgTwalk, []any{0, 9, uint16(1), "dir/file"}},
		{"name with NUL", linux.EINVAL, msgTwalk, []any{0, 9, uint16(1), "di\x00r"}},
		{"no name", linux.EINVAL, msgTwalk, []any{0, 9, uint16(1), ""}},
		{"dot", linux.EINVAL, msgTwalk, []any{0, 9, uint16(1), "."}},
		{"dot dot", linux.EINVAL, msgTwalk, []any{0, 9, uint16(1), ".."}},
		{"long name", linux.ENAMETOOLONG, msgTwalk, []any{0, 9, uint16(1), long}},
		{"walk beyond a file", linux.ENOTDIR, msgTwalk, []any{1, 9, uint16(1), "x"}},
		{"walk from nothing", linux.EBADF, msgTwalk, []any{77, 9, uint16(0)}},
		{"fid that is taken", linux.EINVAL, msgTwalk, []any{0, 1, uint16(0)}},
		{"fid onto itself, open", linux.EBUSY, msgTwalk, []any{1, 1, uint16(0)}},
		{"no fid", linux.EINVAL, msgTwalk, []any{0, uint32(noFID), uint16(0)}},
		{"attach to a fid that is taken", linux.EINVAL, msgTattach, []any{0, uint32(noFID), "", "", 0}},
		{"attach to nothing", linux.ENOENT, msgTattach, []any{9, uint32(noFID), "", "/none", 0}},
		{"attach above", linux.EINVAL, msgTattach, []any{9, uint32(noFID), "", "/..", 0}},
		{"attach with proof", linux.EINVAL, msgTattach, []any{9, 8, "", "", 0}},
		{"proof", linux.EOPNOTSUPP, msgTauth, []any{9, "", "", 0}},
		{"create with a slash", linux.EINVAL, msgTlcreate, []any{2, "a/b", 0, 0644, 0}},
		{"create in an open directory", linux.EBUSY, msgTlcreate, []any{2, "a", 0, 0644, 0}},
		{"create in a file", linux.ENOTDIR, msgTlcreate, []any{1, "a", 0, 0644, 0}},
		{"mkdir dot dot", linux.EINVAL, msgTmkdir, []any{0, "..", 0755, 0}},
		{"mknod long", linux.ENAMETOOLONG, msgTmknod, []any{0, long, 0644, 0, 0, 0}},
		{"symlink to NUL", linux.EINVAL, msgTsymlink, []any{0, "l", "a\x00b", 0}},
		{"symlink to nothing", linux.ENOENT, msgTsymlink, []any{0, "l", "", 0}},
		{"symlink too long", linux.ENAMETOOLONG, msgTsymlink, []any{0, "l", strings.Repeat("x", 4096), 0}},
		{"link with a slash", linux.EINVAL, msgTlink, []any{0, 1, "a/b"}},
		{"link of nothing", linux.EBADF, msgTlink, []any{0, 77, "a"}},
		{"rename with a slash", linux.EINVAL, msgTrenameat, []any{0, "dir", 0, "a/b"}},
		{"rename of dot", linux.EINVAL, msgTrenameat, []any{0, ".", 0, "a"}},
		{"rename into a file", linux.ENOTDIR, msgTrenameat, []any{0, "dir", 1, "a"}},
		{"rename of the root", linux.EINVAL, msgTrename, []any{2, 0, "a"}},
		{"unlink dot dot", linux.EINVAL, msgTunlinkat, []any{0, "..", 0}},
		{"open twice", linux.EBUSY, msgTlopen, []any{1, 0}},
		{"open a directory to write", linux.EISDIR, msgTlopen, []any{0, 1}},
		{"read a directory", linux.EISDIR, msgTread, []any{2, uint64(0), 10}},
		{"read what is not open", linux.EISDIR, msgTread, []any{0, uint64(0), 10}},
		{"read beyond all files", linux.EINVAL, msgTread, []any{1, uint64(1 << 63), 10}},
		{"write beyond all files", linux.EFBIG, msgTwrite, []any{1, uint64(1<<63 - 1), 1, []byte("x")}},
		{"write less than counted", linux.EMSGSIZE, msgTwrite, []any{1, uint64(0), uint32(1<<32 - 1), []byte("x")}},
		{"list a file", linux.ENOTDIR, msgTreaddir, []any{1, uint64(0), 100}},
		{"list what is not open", linux.EBADF, msgTreaddir, []any{0, uint64(0), 100}},
		{"list in no room", linux.EINVAL, msgTreaddir, []any{2, uint64(0), 20}},
		{"readlink of a file", linux.EINVAL, msgTreadlink, []any{1}},
		{"attribute that is not", linux.ENODATA, msgTxattrwalk, []any{1, 9, "user.none"}},
		{"attribute on a fid that is taken", linux.EINVAL, msgTxattrwalk, []any{1, 2, ""}},
		{"attribute with a long name", linux.ERANGE, msgTxattrwalk, []any{1, 9, long}},
		{"lock of no kind", linux.EINVAL, msgTlock, []any{1, uint8(3), 0, uint64(0), uint64(0), 1, "me"}},
		{"clunk nothing", linux.EBADF, msgTclunk, []any{77}},
		{"remove nothing", linux.EBADF, msgTremove, []any{77}},
		{"sync what is not open", linux.EBADF, msgTfsync, []any{0, 0}},
		{"no such message", linux.EOPNOTSUPP, 99, nil},
		{"an answer", linux.EOPNOTSUPP, msgRlerror, []any{5}},
		{"too short", linux.EBADMSG, msgTgetattr, []any{1}},
	} {
		a := b.ask(tt.typ, 1, tt.fields...)
		assert.Equal(t, a.typ, uint8(msgRlerror), tt.name)
		assert.Equal(t, linux.Errno(a.u32()), tt.want, tt.name)
	}
	// None of it left a fid behind, or took one.
	b.fails(linux.EBADF, msgTclunk, 9)
	a := b.must(msgTread, 1, uint64(0), uint32(1<<32-1)) // a huge count means: what there is
	assert.Equal(t, string(a.data()), "0123456789")
	assert.Equal(t, len(fs.root.children), 1)
	assert.Equal(t, b.dev.Stats().Files, int64(4))
}

// TestDRV_41_PartialWalk goes as far as it can, and makes no fid.
func TestDRV_41_PartialWalk(t *testing.T) {
	fs := newMemFS()
	fs.put("a/b/c", "")
	b := newBench(t, Options{Attacher: fs}).up()
	a := b.must(msgTwalk, 0, 1, uint16(4), "a", "b", "x", "y")
	assert.Equal(t, a.u16(), uint16(2))
	assert.Equal(t, a.qid().Path, fs.root.children["a"].path)
	assert.Equal(t, a.qid().Path, fs.root.children["a"].children["b"].path)
	b.fails(linux.EBADF, msgTclunk, 1)
	assert.Equal(t, b.dev.Stats().Files, int64(1))
	b.must(msgTwalk, 0, 1, uint16(1), "a")
	a = b.must(msgTwalk, 1, 1, uint16(2), "b", "x") // onto itself, in vain: it stays where it is
	assert.Equal(t, a.u16(), uint16(1))
	b.must(msgTwalk, 1, 1, uint16(2), "b", "c")
	b.fails(linux.ENOTDIR, msgTwalk, 1, 2, uint16(1), "x")
}

func TestReadWriteBounced(t *testing.T) {
	for _, crooked := range []bool{false, true} {
		fs := newMemFS()
		fs.vectors = true
		file := fs.put("file", "")
		b := newBench(t, Options{Attacher: fs}).up()
		b.crooked, b.room = crooked, 300<<10
		b.must(msgTwalk, 0, 1, uint16(1), "file")
		b.must(msgTlopen, 1, 2)
		data := bytes.Repeat([]byte("0123456"), 30_000) // more than one bounce buffer
		assert.Equal(t, b.must(msgTwrite, 1, uint64(3), len(data), data).u32(), uint32(len(data)))
		assert.Assert(t, bytes.Equal(file.data[3:], data))
		assert.Assert(t, bytes.Equal(b.must(msgTread, 1, uint64(3), len(data)).data(), data))
		assert.Equal(t, len(b.must(msgTread, 1, uint64(1<<20), 10).data()), 0)
		// A write of Linux before 4.20 that is not copied has a size without its data.
		in := msg(msgTwrite, 1, 1, uint64(0), 5)
		b.offer(append(in, "hello"...), 11)
		assert.Equal(t, read9(t, b.next().out).u32(), uint32(5))
		assert.Equal(t, string(file.data[:5]), "hello")
	}
}
