package vhostuser

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	vu "github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
)

// attack is something no front-end should send. Requests that end the connection name the reason
// in the log.
type attack struct {
	name string
	m    vu.Message
	says string
	stay bool // the request is refused, and the connection goes on
}

func u32s(v ...uint32) (p []byte) {
	for _, v := range v {
		p = binary.LittleEndian.AppendUint32(p, v)
	}
	return p
}

func u64s(v ...uint64) (p []byte) {
	for _, v := range v {
		p = binary.LittleEndian.AppendUint64(p, v)
	}
	return p
}

func table(regions ...[4]uint64) []byte {
	p := u32s(uint32(len(regions)), 0)
	for _, r := range regions {
		p = append(p, u64s(r[:]...)...)
	}
	return p
}

// memfd is a file of so many bytes.
func memfd(t testing.TB, size int64) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("memory", unix.MFD_CLOEXEC)
	assert.NilError(t, err)
	f := os.NewFile(uintptr(fd), "memory")
	t.Cleanup(func() { f.Close() })
	assert.NilError(t, f.Truncate(size))
	return f
}

func newEventfd(t testing.TB) *os.File {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	assert.NilError(t, err)
	f := os.NewFile(uintptr(fd), "eventfd")
	t.Cleanup(func() { f.Close() })
	return f
}

func attacks(t testing.TB) []attack {
	const page = 4096
	mem, other := memfd(t, 4*page), memfd(t, 4*page)
	bell := newEventfd(t)
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	assert.NilError(t, err)
	t.Cleanup(func() { null.Close() })
	huge := uint32(1 << 30)
	top := ^uint64(0)
	say := func(name string, r vu.Request, p []byte, says string, files ...*os.File) attack {
		return attack{name: name, m: vu.Message{Request: r, Flags: vu.Version, Payload: p, Files: files}, says: says}
	}
	refuse := func(name string, r vu.Request, p []byte, says string, files ...*os.File) attack {
		a := say(name, r, p, says, files...)
		a.stay = true
		return a
	}
	list := []attack{
		say("unknown request", 99, nil, "request 99 is not known"),
		say("unknown request with descriptors", 99, nil, "request 99 is not known", mem, bell, null),
		say("log base", vu.SetLogBase, u64s(0, 0), "request 6 is not known", mem),
		say("request not offered", vu.VringKick, u32s(0, 0), "not offered"),
		say("payload too short", vu.SetFeatures, []byte{1}, "payload of 1 bytes"),
		say("payload too long", vu.SetVringNum, make([]byte, 12), "payload of 12 bytes"),
		say("payload where none belongs", vu.GetFeatures, make([]byte, 9), "payload of 9 bytes"),
		{name: "payload beyond all bounds", m: vu.Message{Request: vu.SetMemTable, Flags: vu.Version, Size: &huge}, says: "payload of 1073741824 bytes"},
		{name: "other version", m: vu.Message{Request: vu.GetFeatures, Flags: 2}, says: "version 2"},
		{name: "reply unasked", m: vu.Message{Request: vu.GetFeatures, Flags: vu.Version | vu.Reply}, says: "a reply"},
		say("descriptor where none belongs", vu.SetOwner, nil, "1 file descriptors where there should be 0", bell),
		say("two descriptors for one", vu.SetVringKick, u64s(0), "2 file descriptors where there should be 1", bell, mem),
		say("descriptor missing", vu.SetVringCall, u64s(0), "0 file descriptors where there should be 1"),
		say("descriptor and the word that there is none", vu.SetVringErr, u64s(vu.NoFD), "1 file descriptors where there should be 0", bell),
		say("kick that is a file", vu.SetVringKick, u64s(0), "neither an eventfd nor", mem),
		say("call that is a device", vu.SetVringCall, u64s(0), "neither an eventfd nor", null),
		say("err that is a file", vu.SetVringErr, u64s(0), "neither an eventfd nor", mem),
		say("channel that is an eventfd", vu.SetBackendReqFD, nil, "carries no messages", bell),
		say("features not offered", vu.SetFeatures, u64s(1<<32|1<<35), "were not offered"),
		say("features without VERSION_1", vu.SetFeatures, u64s(0), "a legacy driver"),
		say("protocol features not offered", vu.SetProtocolFeatures, u64s(1<<63), "were not offered"),
		say("queue out of range", vu.SetVringNum, u32s(7, 8), "there is no queue 7"),
		say("kick out of range", vu.SetVringKick, u64s(0xff), "there is no queue 255", bell),
		say("base out of range", vu.SetVringBase, u32s(0, 1<<16), "base 0x10000"),
		say("neither enabled nor disabled", vu.SetVringEnable, u32s(0, 2), "neither enabled nor disabled"),
		refuse("size 0", vu.SetVringNum, u32s(0, 0), "size 0 is not a power of two"),
		refuse("size 3", vu.SetVringNum, u32s(0, 3), "size 3 is not a power of two"),
		refuse("size too large", vu.SetVringNum, u32s(0, 512), "size 512 is not a power of two up to 256"),
		refuse("polling", vu.SetVringKick, u64s(vu.NoFD), "polled"),
		refuse("configuration that is read-only", vu.SetConfig, u32s(0, 4, 0, 0), "read-only"),
		refuse("configuration of a migration", vu.SetConfig, u32s(0, 4, 1, 0), "from elsewhere"),
		say("configuration of another length", vu.SetConfig, u32s(0, 5, 0, 0), "payload of 16 bytes"),
		say("status out of range", vu.SetStatus, u64s(0x100), "device status 0x100"),
		say("more regions than described", vu.SetMemTable, u32s(9, 0), "payload of 8 bytes"),
		say("more regions than there can be", vu.SetMemTable, table(make([][4]uint64, 33)...), "more than 32", slices.Repeat([]*os.File{mem}, 33)...),
		say("region without descriptor", vu.SetMemTable, table([4]uint64{0, page, 0, 0}), "0 file descriptors where there should be 1"),
		say("region of no bytes", vu.SetMemTable, table([4]uint64{0, 0, 0, 0}), "empty or wraps", mem),
		say("region that wraps in the guest", vu.SetMemTable, table([4]uint64{top &^ 0xfff, 2 * page, 0, 0}), "empty or wraps", mem),
		say("region that wraps in the front-end", vu.SetMemTable, table([4]uint64{0, 2 * page, top &^ 0xfff, 0}), "empty or wraps", mem),
		say("region that wraps in the file", vu.SetMemTable, table([4]uint64{0, page, 0, top &^ 0xfff}), "wraps", mem),
		say("region beyond its file", vu.SetMemTable, table([4]uint64{0, 5 * page, 0, 0}), "too few", mem),
		say("region behind its file", vu.SetMemTable, table([4]uint64{0, page, 0, 8 * page}), "too few", mem),
		say("region of another alignment", vu.SetMemTable, table([4]uint64{8, page, 0, 0}), "aligned otherwise", mem),
		say("regions that overlap in the guest", vu.SetMemTable, table([4]uint64{0, 2 * page, 0, 0}, [4]uint64{page, page, 8 * page, 0}), "overlap", mem, other),
		say("regions that overlap in the front-end", vu.SetMemTable, table([4]uint64{0, 2 * page, 0, 0}, [4]uint64{8 * page, page, page, 0}), "overlap", mem, other),
		say("region that is a device", vu.SetMemTable, table([4]uint64{0, page, 0, 0}), "not a regular file", null),
		say("region that is an eventfd", vu.SetMemTable, table([4]uint64{0, page, 0, 0}), "not a regular file", bell),
		say("second region bad", vu.SetMemTable, table([4]uint64{0, page, 0, 0}, [4]uint64{page, 9 * page, page, 0}), "too few", mem, other),
		say("region added that overlaps itself", vu.AddMemReg, append(u64s(0), u64s(0, 9*page, 0, 0)...), "too few", mem),
		refuse("region removed that is not there", vu.RemMemReg, append(u64s(0), u64s(0, page, 0, 0)...), "no memory region"),
		say("in-flight area for no queue", vu.GetInflightFD, append(u64s(0, 0), 0, 0, 0, 1), "for 0 queues"),
		say("in-flight area for queues of an odd size", vu.GetInflightFD, append(u64s(0, 0), 1, 0, 3, 0), "of size 3"),
		say("in-flight area too small", vu.SetInflightFD, append(u64s(64, 0), 1, 0, 8, 0), "need 192", mem),
		say("in-flight area beyond its file", vu.SetInflightFD, append(u64s(8*page, 0), 1, 0, 8, 0), "too few", mem),
		say("in-flight area off its alignment", vu.SetInflightFD, append(u64s(192, 4), 1, 0, 8, 0), "multiple of 8", mem),
	}
	return list
}

// Whatever is wrong with a message costs the connection, with one line in the log, and nothing
// else: the next front-end is served.
func TestHostileMessages(t *testing.T) {
	var book logbook
	y := newToy(2)
	y.config, y.info.ConfigLen = make([]byte, 8), 8
	s := newServer(t, y, Options{Log: book.logger()})
	for _, a := range attacks(t) {
		t.Run(a.name, func(t *testing.T) {
			book.clear()
			fe, done := connect(t, s)
			defer fe.Close()
			assert.NilError(t, fe.Send(a.m))
			if a.stay {
				_, err := fe.GetFeatures()
				assert.NilError(t, err)
				fe.Close()
				assert.NilError(t, ended(t, done))
			} else {
				assert.NilError(t, fe.Closed())
				err := ended(t, done)
				assert.ErrorContains(t, err, "toy")
				assert.ErrorContains(t, err, a.says)
			}
			lines := book.warnings()
			assert.Equal(t, len(lines), 1, "%q", lines)
			for _, word := range []string{"device=toy", a.says} {
				assert.Assert(t, strings.Contains(lines[0], word), "no %q in %q", word, lines[0])
			}
		})
	}
	serveOne(t, s, vu.Options{Sizes: []uint16{8, 8}})
}

// A front-end that asked for an acknowledgement gets a no before the end.
func TestHostileMessagesAcknowledged(t *testing.T) {
	y := newToy(2)
	y.config, y.info.ConfigLen = make([]byte, 8), 8
	s := newServer(t, y, Options{})
	for _, a := range attacks(t) {
		if a.m.Size != nil || a.m.Flags != vu.Version || a.m.Request == vu.GetFeatures || a.m.Request == vu.GetInflightFD {
			continue // has an answer of its own, or none
		}
		t.Run(a.name, func(t *testing.T) {
			fe, done := connect(t, s)
			defer fe.Close()
			assert.NilError(t, fe.SetProtocolFeatures(vu.ReplyAck))
			a.m.Flags |= vu.NeedReply
			m, err := fe.Ask(a.m)
			assert.NilError(t, err)
			assert.DeepEqual(t, m.Payload, u64s(1))
			if a.stay {
				fe.Close()
			} else {
				assert.NilError(t, fe.Closed())
			}
			_ = ended(t, done)
		})
	}
}

// serveOne connects a good guest and sees that it is served.
func serveOne(t testing.TB, s *Server, o vu.Options) {
	t.Helper()
	fe, done := connect(t, s)
	g := newGuest(t, o)
	assert.NilError(t, g.Attach(fe))
	for i := range g.Queues {
		echo(t, g, i)
	}
	assert.NilError(t, g.Detach())
	assert.NilError(t, ended(t, done))
}

// A message that stops in the middle is dropped with the descriptors it came with.
func TestHalfAMessage(t *testing.T) {
	s := newServer(t, newToy(1), Options{})
	whole := append(u32s(uint32(vu.SetFeatures), vu.Version, 8), u64s(0)...)
	for n := 1; n < len(whole); n++ {
		fe, done := connect(t, s)
		assert.NilError(t, fe.SendBytes(whole[:n]))
		fe.Close()
		assert.ErrorContains(t, ended(t, done), "unexpected EOF", fmt.Sprint(n))
	}
}

// Nothing of a thousand front-ends stays, however they leave.
func TestNothingLeaks(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	y := newToy(2)
	y.config, y.info.ConfigLen = make([]byte, 8), 8
	s := newServer(t, y, Options{})
	list := attacks(t)
	g := newGuest(t, vu.Options{Sizes: []uint16{8, 8}, Inflight: true})
	round := func(i int) {
		a := list[i%len(list)]
		fe, done := connect(t, s)
		if i%3 == 0 {
			assert.NilError(t, g.Attach(fe))
			echo(t, g, i%2)
		}
		assert.NilError(t, fe.Send(a.m))
		if i%5 == 0 {
			fe.Close()
		} else if !a.stay {
			assert.NilError(t, fe.Closed())
		}
		assert.NilError(t, g.Detach())
		fe.Close()
		_ = ended(t, done)
	}
	for i := range 2 * len(list) { // what the runtime and the kit set up once
		round(i)
	}
	fds, maps := open(t), shared(t)
	for i := range rounds {
		round(i)
	}
	assert.Assert(t, open(t) <= fds)
	assert.Assert(t, shared(t) <= maps)
	serveOne(t, s, vu.Options{Sizes: []uint16{8, 8}})
}
