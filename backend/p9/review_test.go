package p9

import (
	"os"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// TestP9_05_NothingMadeUntold has answers of variable size that do not fit: what they would have
// told of is not made, and not lost.
func TestP9_05_NothingMadeUntold(t *testing.T) {
	fs := newMemFS()
	fs.put("dir/file", "data")
	b := newBench(t, Options{Attacher: fs}).up()
	refused := func(room int, in []byte) {
		t.Helper()
		b.offer(in, room)
		a := read9(t, b.next().out)
		assert.Equal(t, a.typ, uint8(msgRlerror))
		assert.Equal(t, a.u32(), uint32(linux.ENOBUFS))
	}
	refused(34, msg(msgTwalk, 1, 0, 1, uint16(2), "dir", "file"))
	b.fails(linux.EBADF, msgTgetattr, 1, uint64(1))
	refused(34, msg(msgTwalk, 1, 0, 0, uint16(2), "dir", "file")) // nor is fid 0 another file
	b.must(msgTwalk, 0, 1, uint16(2), "dir", "file")
	b.must(msgTlopen, 1, 0)
	refused(11, msg(msgTread, 1, 1, uint64(0), 10)) // no data would mean the end of the file
	refused(20, msg(msgTversion, noTag, uint32(8192), dialect))
	b.must(msgTgetattr, 1, uint64(1))
}

// TestRenamedIntoItsChild is a directory that was moved into one that had been its own child: what
// is known of names is behind, but neither of the two may hold the other for ever.
func TestRenamedIntoItsChild(t *testing.T) {
	fs := newMemFS()
	fs.concurrent = true
	fs.put("a/b/f", "")
	b := newBench(t, Options{Attacher: fs}).up()
	b.must(msgTwalk, 0, 1, uint16(1), "a")
	b.must(msgTwalk, 1, 2, uint16(1), "b")
	// The host puts an empty directory in place of b, and b elsewhere.
	fs.mu.Lock()
	dir := fs.root.children["a"]
	fs.root.children["c"], dir.children["b"] = dir.children["b"], fs.inode(dir.mode)
	fs.mu.Unlock()
	b.must(msgTunlinkat, 1, "b", 0x200)
	b.must(msgTrenameat, 0, "a", 2, "x")
	b.s.end()
	assert.Equal(t, b.dev.Stats().Files, int64(0))
	assert.Equal(t, fs.live, 0)
}

// slowMessage is one whose second Write, the first one of data, waits.
type slowMessage struct {
	*plain
	writes  int
	arrived chan struct{}
	release chan struct{}
}

func (m *slowMessage) Write(p []byte) (int, error) {
	if m.writes++; m.writes == 2 {
		m.arrived <- struct{}{}
		<-m.release
	}
	return m.plain.Write(p)
}

// TestEndWhileBusy counts a call that begins when the session has been over for a moment among
// those that nobody waits for: MaxStuck bounds them all.
func TestEndWhileBusy(t *testing.T) {
	fs := newMemFS()
	fs.put("slow", strings.Repeat("x", 2*bounceSize))
	slow := newBlocker(fs, "slow", "ReadAt")
	b := newBench(t, Options{Attacher: fs}).up()
	b.must(msgTwalk, 0, 1, uint16(1), "slow")
	b.must(msgTlopen, 1, 0)
	m := &slowMessage{
		plain:   &plain{in: msg(msgTread, 5, 1, uint64(0), 2*bounceSize), out: make([]byte, 0, 3*bounceSize)},
		arrived: make(chan struct{}), release: make(chan struct{}),
	}
	s := b.s
	s.begin(m)
	served := make(chan error)
	go func() { served <- s.serve(m) }()
	<-slow.arrived
	slow.release <- struct{}{}
	<-m.arrived // between two calls
	s.end()
	close(m.release)
	<-slow.arrived
	assert.Equal(t, b.dev.Stats().Stuck, int64(1))
	close(slow.release)
	assert.ErrorIs(t, <-served, vring.ErrShut)
	assert.Equal(t, b.dev.Stats().Stuck, int64(0))
	b.begin()
}

// TestDRV_41_HugeVector has a message, and then its answer, in buffers of one byte each.
func TestDRV_41_HugeVector(t *testing.T) {
	const n = 200
	tree, err := Dir(t.TempDir(), DirOptions{})
	assert.NilError(t, err)
	t.Cleanup(func() { tree.Close() })
	d := newDriver(t, Options{Attacher: tree}, virtiotest.Options{QueueSize: 256, Buffers: 4 << 20})
	d.up()
	d.must(msgTwalk, 0, 1, uint16(0))
	d.must(msgTlcreate, 1, "file", 2, 0644, 0)
	text := make([]byte, n)
	for i := range text {
		text[i] = byte(i * i)
	}
	crumbs := func(in []byte, room int) []byte {
		t.Helper()
		var c []vringtest.Desc
		for i := range in {
			c = append(c, vringtest.Readable(d.Memory.Buffer(in[i:i+1]), 1))
		}
		out := d.Memory.Alloc(uint64(room), 1)
		for i := range room {
			c = append(c, vringtest.Writable(out+uint64(i), 1))
		}
		d.Queue(0).Offer(c...)
		e, err := d.Queue(0).Wait()
		assert.NilError(t, err)
		return d.Memory.Read(out, uint64(e.Len))
	}
	out := crumbs(msg(msgTwrite, 7, 1, uint64(0), n, text), 11)
	assert.DeepEqual(t, out, msg(msgTwrite+1, 7, n))
	out = crumbs(msg(msgTread, 8, 1, uint64(0), n), 11+n)
	assert.DeepEqual(t, out, msg(msgTread+1, 8, n, text))
}

// TestDirTogether has two exports without a bound of their own: neither can use up what both leave
// to the rest of the process.
func TestDirTogether(t *testing.T) {
	a, b := export(t, t.TempDir(), DirOptions{}), export(t, t.TempDir(), DirOptions{})
	before := together.Load()
	a.x.max, b.x.max = before+2, before+2
	for _, s := range []*share{a, b} {
		f, err := s.x.Attach()
		assert.NilError(t, err)
		defer f.Close()
	}
	_, err := a.x.Attach()
	refused(t, err, unix.ENFILE)
	_, err = b.x.Attach()
	refused(t, err, unix.ENFILE)
	assert.Equal(t, together.Load(), before+2)
}

// TestP9_08_DirIDMapNobody is a driver that names no owner: with a map it would get the process's
// own, which is outside of it, and could make programs that are setuid to that.
func TestP9_08_DirIDMapNobody(t *testing.T) {
	asRoot(t)
	ids := []IDRange{{Guest: 0, Host: 100000, Count: 1000}}
	s := export(t, scratch(t), DirOptions{UIDs: ids, GIDs: ids})
	for _, owner := range []struct {
		uid p9.UID
		gid p9.GID
	}{{p9.NoUID, 0}, {0, p9.NoGID}, {p9.NoUID, p9.NoGID}} {
		_, _, _, err := s.root.Create("new", p9.ReadWrite, 0o4755, owner.uid, owner.gid)
		refused(t, err, unix.EINVAL)
		_, err = s.root.Mkdir("new", 0o755, owner.uid, owner.gid)
		refused(t, err, unix.EINVAL)
		_, err = s.root.Symlink("to", "new", owner.uid, owner.gid)
		refused(t, err, unix.EINVAL)
		_, err = s.root.Mknod("new", p9.ModeNamedPipe, 0, 0, owner.uid, owner.gid)
		refused(t, err, unix.EINVAL)
	}
	names, err := os.ReadDir(s.path)
	assert.NilError(t, err)
	assert.Equal(t, len(names), 0)
}

// TestP9_08_DirSetuidOfOthers is a driver that makes a file of the host's setuid, whose owner it
// could not have given it.
func TestP9_08_DirSetuidOfOthers(t *testing.T) {
	asRoot(t)
	ids := []IDRange{{Guest: 0, Host: 100000, Count: 1000}}
	for name, o := range map[string]DirOptions{
		"map":    {UIDs: ids, GIDs: ids},
		"squash": {Squash: &Owner{UID: 7, GID: 7}},
		"both":   {UIDs: ids, GIDs: ids, Squash: &Owner{UID: 7, GID: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			s := export(t, scratch(t), o)
			s.put("host's", "")
			makeAll(t, s, 7, 7, 0o6755)
			chmod := func(name string, mode p9.FileMode) error {
				f := s.get(name)
				defer f.Close()
				return f.SetAttr(p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: mode})
			}
			refused(t, chmod("host's", 0o4755), unix.EPERM)
			refused(t, chmod("host's", 0o2755), unix.EPERM)
			assert.NilError(t, chmod("host's", 0o1777))
			assert.Equal(t, s.stat("host's").Mode&modeBits, uint32(0o1777))
			for _, name := range []string{"file", "dir"} {
				assert.NilError(t, chmod(name, 0o6711))
				assert.Equal(t, s.stat(name).Mode&modeBits, uint32(0o6711))
			}
		})
	}
}
