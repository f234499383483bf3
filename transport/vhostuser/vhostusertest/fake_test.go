package vhostusertest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// fake is a back-end as small as can be, for tests of the kit: it answers each request by writing
// back what it read. It serves a queue whenever that is kicked, from its reading loop for
// messages and from a goroutine for descriptors.
type fake struct {
	t        *testing.T
	conn     *net.UnixConn
	memory   []Region
	space    *shmem.Space
	protocol Protocol
	status   uint64
	features uint64
	requests *net.UnixConn
	queue    vring.Config
	kick     *os.File
	call     *os.File
	over     atomic.Bool

	mu   sync.Mutex // one serve at a time
	ring *vring.Queue
}

func newFake(t *testing.T) (fe *FrontEnd) {
	t.Helper()
	ours, theirs, err := SocketPair()
	assert.NilError(t, err)
	conn, err := fileConn(theirs)
	assert.NilError(t, err)
	theirs.Close()
	fe, err = New(ours)
	assert.NilError(t, err)
	ours.Close()
	f := &fake{t: t, conn: conn}
	done := make(chan error, 1)
	go func() { done <- f.run() }()
	t.Cleanup(func() {
		fe.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return fe
}

func (f *fake) run() error {
	defer f.conn.Close()
	defer f.stop()
	for {
		m, err := receive(f.conn)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := f.take(m)
		if err != nil {
			return fmt.Errorf("message %d: %w", m.Request, err)
		}
		if answer == nil && m.Flags&NeedReply != 0 {
			answer = u64s(0)
		}
		if answer != nil {
			if err := send(f.conn, Message{Request: m.Request, Flags: Version | Reply, Payload: answer}); err != nil {
				return err
			}
		}
	}
}

func (f *fake) take(m Message) (answer []byte, err error) {
	p := m.Payload
	switch m.Request {
	case GetFeatures:
		return u64s(virtio.FeatureSet(virtio.Version1, virtio.EventIdx, virtio.IndirectDesc, FeatureProtocol)[0]), nil
	case SetFeatures:
		f.features = order.Uint64(p)
	case GetProtocolFeatures:
		return u64s(uint64(MQ | ReplyAck | BackendReq | Config | InBandNotify | StatusProtocol)), nil
	case SetProtocolFeatures:
		f.protocol = Protocol(order.Uint64(p))
	case GetQueueNum:
		return u64s(1), nil
	case SetStatus:
		f.status = order.Uint64(p)
	case GetStatus:
		return u64s(f.status), nil
	case GetConfig:
		if order.Uint32(p) >= 8 {
			return []byte{}, nil
		}
		return append(p[:configHeader:configHeader], "abcdefgh"[order.Uint32(p):order.Uint32(p)+order.Uint32(p[4:])]...), nil
	case SetBackendReqFD:
		f.requests, err = fileConn(m.Files[0])
	case SetMemTable:
		return nil, f.mapAll(p, m.Files)
	case SetVringNum:
		f.queue.Size = uint16(order.Uint32(p[4:]))
	case SetVringBase:
		f.queue.Start = uint16(order.Uint32(p[4:]))
	case SetVringAddr:
		f.queue.Desc, f.queue.Layout.Used, f.queue.Avail = f.guest(order.Uint64(p[8:])), f.guest(order.Uint64(p[16:])), f.guest(order.Uint64(p[24:]))
	case SetVringCall:
		f.call = m.Files[0]
	case SetVringKick:
		f.kick = m.Files[0]
		go f.poll()
	case SetVringEnable:
		features := virtio.Features{f.features}
		f.queue.EventIdx, f.queue.Indirect = features.Has(virtio.EventIdx), features.Has(virtio.IndirectDesc)
		f.mu.Lock()
		f.ring, err = vring.New(f.space, f.queue)
		f.mu.Unlock()
		if err == nil {
			err = f.serve() // a kick may have come before, on another way than this message
		}
	case VringKick:
		return nil, f.serve()
	}
	return nil, err
}

func (f *fake) mapAll(p []byte, files []*os.File) error {
	var windows []shmem.Window
	for i, file := range files {
		r := p[8+32*i:]
		region := Region{Guest: order.Uint64(r), Size: order.Uint64(r[8:]), User: order.Uint64(r[16:]), Offset: order.Uint64(r[24:])}
		f.memory = append(f.memory, region)
		mapped, err := shmem.OpenFile(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), int64(region.Offset+region.Size))
		if err != nil {
			return err
		}
		windows = append(windows, shmem.Window{Addr: region.Guest, Region: mapped, Off: region.Offset, Size: region.Size})
	}
	var err error
	f.space, err = shmem.NewSpace(windows...)
	return err
}

func (f *fake) guest(user uint64) uint64 {
	for _, r := range f.memory {
		if user-r.User < r.Size {
			return user - r.User + r.Guest
		}
	}
	return 0
}

// poll serves at each kick.
func (f *fake) poll() {
	var p [8]byte
	for {
		if _, err := f.kick.Read(p[:]); err != nil || f.over.Load() {
			return
		}
		if err := f.serve(); err != nil {
			f.t.Error(err)
		}
	}
}

// stop ends poll: an eventfd has nobody else who would, a pipe ends with its writer.
func (f *fake) stop() {
	f.over.Store(true)
	if f.kick != nil {
		f.kick.Write(u64s(1))
	}
}

func (f *fake) serve() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ring == nil {
		return nil
	}
	var c vring.Chain
	for {
		ok, err := f.ring.Pop(&c)
		if err != nil {
			return err
		}
		if !ok {
			notify, err := f.ring.Publish()
			if err != nil {
				return err
			}
			if notify {
				if err := f.notify(); err != nil {
					return err
				}
			}
			if pending, err := f.ring.Arm(); !pending || err != nil {
				return err
			}
			continue
		}
		b := make([]byte, c.Readable())
		if _, err := io.ReadFull(&c, b); err != nil {
			return err
		}
		if _, err := c.Write(b); err != nil {
			return err
		}
		f.ring.Push(&c)
	}
}

func (f *fake) notify() error {
	if f.call != nil {
		_, err := f.call.Write(u64s(1))
		return err
	}
	err := send(f.requests, Message{Request: BackendVringCall, Flags: Version | NeedReply, Payload: u32s(0, 0)})
	if err != nil {
		return err
	}
	m, err := receive(f.requests)
	if err == nil && (m.Request != BackendVringCall || order.Uint64(m.Payload) != 0) {
		err = fmt.Errorf("answer %v to a call", m)
	}
	return err
}
