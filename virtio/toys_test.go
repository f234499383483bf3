package virtio_test

import (
	"context"
	"io"
	"testing"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
	"gotest.tools/v3/assert"
)

// toy is a device made of functions; what is nil is a queue that echoes and nothing else.
type toy struct {
	info       virtio.Info
	serve      func(ctx context.Context, s *virtio.Session) error
	readConfig func(p []byte, off int)
}

func (d *toy) Info() virtio.Info {
	info := d.info
	if info.Queues == nil {
		info.Queues = []uint16{0}
	}
	return info
}

func (d *toy) ReadConfig(p []byte, off int) { d.readConfig(p, off) }

func (d *toy) Serve(ctx context.Context, s *virtio.Session) error {
	if d.serve == nil {
		return s.Queue(0).Handle(ctx, echo)
	}
	return d.serve(ctx, s)
}

// echo writes back what it reads.
func echo(c *vring.Chain) error {
	p := make([]byte, c.Readable())
	if _, err := io.ReadFull(c, p); err != nil {
		return err
	}
	_, err := c.Write(p)
	return err
}

// picky is a toy that has a say in its features, and keeps a configuration that can be written.
type picky struct {
	toy
	negotiate   func(virtio.Features) error
	writeConfig func(p []byte, off int) error
}

func (d *picky) Negotiate(f virtio.Features) error   { return d.negotiate(f) }
func (d *picky) WriteConfig(p []byte, off int) error { return d.writeConfig(p, off) }
func newRig(t testing.TB, b virtio.Backend) *virtiotest.Rig {
	return virtiotest.NewRig(t, b, virtiotest.Options{})
}

// up is a device that is live, with everything offered.
func up(t testing.TB, b virtio.Backend, o virtiotest.Options) *virtiotest.Rig {
	t.Helper()
	r := virtiotest.NewRig(t, b, o)
	assert.NilError(t, r.Up(r.Device.Offered()))
	t.Cleanup(func() { assert.NilError(t, r.Reset()) })
	return r
}

// mustEcho proves that queue 0 is served.
func mustEcho(t testing.TB, r *virtiotest.Rig) {
	t.Helper()
	reply, err := r.Queue(0).Do([]byte("ping"), 8)
	assert.NilError(t, err)
	assert.Equal(t, string(reply), "ping")
}

// eventually waits for the device.
func eventually(t testing.TB, r *virtiotest.Rig, what string, cond func() bool) {
	t.Helper()
	assert.Assert(t, r.Await(cond), "waited in vain: %s", what)
}

// breakRing makes the available index of queue 0 jump.
func breakRing(r *virtiotest.Rig) {
	q := r.Queue(0)
	q.SetAvailIdx(q.AvailIdx() + q.Size + 1)
	r.Device.Kick()
}

// pingPong is a chain of 4 readable and 8 writable bytes.
func pingPong(m *vringtest.Memory) (d []vringtest.Desc, reply uint64) {
	reply = m.Alloc(8, 1)
	return []vringtest.Desc{vringtest.Readable(m.Buffer([]byte("ping")), 4), vringtest.Writable(reply, 8)}, reply
}
