package vhostuser

import (
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	vu "github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
)

// FuzzMessages takes bytes for a message. Whatever they are, what is made of them lies in them.
func FuzzMessages(f *testing.F) {
	for r := range rules {
		for _, n := range []int{0, 8, 20, 24, 40, 72} {
			p := make([]byte, headerSize+n)
			putHeader(p, uint32(r), version, n)
			if n == 72 {
				p[headerSize] = 1 // a region
			}
			f.Add(p, uint8(n/24))
		}
	}
	f.Fuzz(func(t *testing.T, p []byte, fds uint8) {
		if len(p) < headerSize {
			return
		}
		h, err := parseHeader((*[headerSize]byte)(p))
		if err != nil {
			return
		}
		assert.Assert(t, h.size <= maxPayload)
		payload := p[headerSize:]
		m, err := parse(h.request, payload, int(fds))
		if err != nil {
			return
		}
		assert.Assert(t, len(m.regions)*regionSize <= len(payload))
		assert.Assert(t, len(m.config.bytes) <= len(payload))
		assert.Assert(t, uint64(m.config.size) == uint64(len(m.config.bytes)))
		if rules[h.request].fds == noFD {
			assert.Assert(t, fds == 0)
		}
	})
}

// player plays messages to a server, with descriptors and memory that are always the same.
type player struct {
	s     *Server
	conn  *net.UnixConn
	files []*os.File
	mem   *os.File
	user  uint64
}

// The words that messages are made of: most are right for some message, some for none.
var (
	words = []uint64{
		0, 1, 2, vringNoFD, vringNoFD | 1, 7, 11, 15, 64, 1 << 32, 1<<32 | 1<<28 | 1<<29 | 1<<30, 1<<32 | 1<<30,
		uint64(protoReplyAck), uint64(protoReplyAck | protoBackendReq | protoInband | protoMQ | protoInflight | protoStatus), ^uint64(0),
	}
	numbers = []uint32{0, 1, 2, 3, 4, 8, 16, 255, 256, 512, 0xffff, 1 << 16, ^uint32(0)}
	places  = []uint64{0, 0x100, 0x200, 0x400, 0x401, 0x1000, 0xfff0, 0x10000, ^uint64(0)}
)

const playSize = 1 << 16

// payload makes a message's payload out of three bytes.
func (p *player) payload(shape payload, a, b, c byte) []byte {
	place := func(x byte) uint64 { return p.user + places[int(x)%len(places)] }
	region := func(x byte) []byte {
		return u64s(uint64(x%3)<<32, playSize, p.user+uint64(x%3)<<33, uint64(x/3%3)<<12)
	}
	switch shape {
	case u64Payload:
		return u64s(words[int(a)%len(words)])
	case statePayload:
		return u32s(uint32(a%3), numbers[int(b)%len(numbers)])
	case addrPayload:
		return append(u32s(uint32(a%3), 0), u64s(place(b), place(c), place(b+c+1), 0)...)
	case tablePayload:
		out := u32s(uint32(a%3), 0)
		for i := range a % 3 {
			out = append(out, region(b*i+c)...)
		}
		return out
	case regionPayload:
		return append(u64s(0), region(a)...)
	case configPayload:
		return append(u32s(numbers[int(a)%len(numbers)], uint32(b%16), uint32(c%2)), make([]byte, b%16)...)
	case inflightPayload:
		return append(u64s(uint64(a)<<6, uint64(b%4)<<3), c%4, 0, 8, 0)
	}
	return nil
}

// message plays one message: its type, how it differs from what it should be, and three bytes.
func (p *player) message(kind, how, a, b, c byte) error {
	list := []request{
		getFeatures, setFeatures, setOwner, resetOwner, setMemTable, setVringNum, setVringAddr, setVringBase,
		getVringBase, setVringKick, setVringCall, setVringErr, getProtocolFeatures, setProtocolFeatures, getQueueNum,
		setVringEnable, setBackendReqFD, getConfig, setConfig, getInflightFD, setInflightFD, resetDevice, vringKick,
		getMaxMemSlots, addMemReg, remMemReg, setStatus, getStatus, 99,
	}
	r := list[int(kind)%len(list)]
	rule := rules[r]
	payload := p.payload(rule.payload, a, b, c)
	if how&0xf == 0xf {
		payload = append(payload, 0)
	}
	fds := 0
	switch rule.fds {
	case oneFD:
		fds = 1
	case vringFD:
		if le.Uint64(payload)&vringNoFD == 0 {
			fds = 1
		}
	case tableFDs:
		fds = int(a % 3)
	}
	if how&0xf0 == 0xf0 {
		fds++
	}
	var oob []byte
	if fds > 0 {
		numbers := make([]int, fds)
		for i := range numbers {
			file := p.mem
			if rule.fds == vringFD || r == setBackendReqFD || how&0xf0 == 0xe0 {
				file = p.files[int(c)%len(p.files)]
			}
			numbers[i] = int(file.Fd())
		}
		oob = unix.UnixRights(numbers...)
	}
	out := make([]byte, headerSize, headerSize+len(payload))
	putHeader(out, uint32(r), version|uint32(how&1)<<3, len(payload))
	_, _, err := p.conn.WriteMsgUnix(append(out, payload...), oob, nil)
	return err
}

// FuzzSequence plays whole conversations to a device, over memory that changes and signals that
// may be anything. Every connection ends, leaves nothing behind, and the next front-end is served.
func FuzzSequence(f *testing.F) {
	// A front-end that does everything right, with and without some of the extras.
	right := []byte{
		13, 0, 12, 0, 0, 1, 0, 10, 0, 0, 4, 0, 1, 0, 0,
		5, 0, 0, 5, 0, 7, 0, 0, 0, 0, 6, 0, 0, 0, 1, 9, 0, 0, 0, 0, 10, 0, 0, 0, 1, 15, 0, 0, 1, 0,
		200, 0, 0, 1, 2, 27, 0, 0, 0, 0, 15, 0, 0, 0, 0, 8, 0, 0, 0, 0,
	}
	f.Add(right)
	f.Add(append([]byte{13, 0, 13, 0, 0, 16, 0, 0, 0, 6, 19, 0, 2, 0, 2, 20, 0, 8, 0, 2, 26, 0, 1, 0, 0}, right...))
	f.Add(append(append([]byte(nil), right...), right...))
	y := newToy(2)
	y.config, y.info.ConfigLen = make([]byte, 8), 8
	s := newServer(f, y, Options{Inband: true})
	p := &player{s: s, mem: memfd(f, 4*playSize), user: 0x7000_0000_0000}
	mapped, err := unix.Mmap(int(p.mem.Fd()), 0, playSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	assert.NilError(f, err)
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	assert.NilError(f, err)
	var pipes [2]int
	assert.NilError(f, unix.Pipe2(pipes[:], unix.O_CLOEXEC))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	assert.NilError(f, err)
	p.files = []*os.File{
		newEventfd(f), newEventfd(f), full(f), os.NewFile(uintptr(pipes[0]), "pipe"), os.NewFile(uintptr(pipes[1]), "pipe"),
		os.NewFile(uintptr(pair[0]), "socket"), os.NewFile(uintptr(pair[1]), "socket"), null, p.mem,
	}
	f.Fuzz(func(t *testing.T, conversation []byte) {
		before := open(t)
		clear(mapped)
		ours, theirs, err := vu.SocketPair()
		assert.NilError(t, err)
		p.conn = unixConn(t, ours)
		done := make(chan error, 1)
		sock := unixConn(t, theirs)
		go func() { done <- s.Serve(t.Context(), sock) }()
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, p.conn)
		}()
		for i := 0; len(conversation) >= 5 && i < 64; i++ {
			m := conversation[:5]
			conversation = conversation[5:]
			if m[0] >= 200 { // the driver's part: anything into the rings, and a kick
				mapped[(int(m[1])<<4|int(m[2]))%playSize] = m[3]
				mapped[int(places[int(m[4])%(len(places)-2)])+2] = m[3]

				signalFD(int(p.files[m[4]%2].Fd()), eventfd)
				continue
			}
			if p.message(m[0], m[1], m[2], m[3], m[4]) != nil {
				break // it has closed the connection
			}
		}
		assert.NilError(t, p.conn.CloseWrite())
		_ = ended(t, done)
		<-read
		assert.NilError(t, p.conn.Close())
		until(t, "descriptors left", func() bool { return open(t) <= before })
		serveOne(t, s, vu.Options{Sizes: []uint16{8, 8}})
	})
}
