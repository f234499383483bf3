package vring_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// Nothing on the way of a request allocates, whatever stands around it.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	file := func(t testing.TB, size int) *shmem.Region {
		r, err := shmem.OpenFile(t.TempDir()+"/ring", int64(size))
		assert.NilError(t, err)
		t.Cleanup(func() { r.Close() })
		return r
	}
	for _, tt := range []struct {
		name   string
		memory func(t testing.TB, size int) *shmem.Region
		gate   *vring.Gate
	}{
		{"bare", memfd, nil},
		{"gate", memfd, vring.NewGate(func() bool { return true }, func() {})},
		{"guard", file, nil},
		{"gate and guard", file, vring.NewGate(func() bool { return true }, func() {})},
		{"device memory", func(t testing.TB, size int) *shmem.Region { return memfd(t, size).As(shmem.Device) }, nil},
	} {
		for _, eventIdx := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				m := newMemory(tt.memory(t, 1<<16))
				c := indirect(8)
				c.EventIdx = eventIdx
				c.Gate = tt.gate
				c.Layout = m.Modern(8)
				e := newEnv(t, m, c)
				in, out := vringtest.Readable(m.Alloc(9, 1), 9), vringtest.Writable(m.Alloc(9, 1), 9)
				e.r.Chain(0, in, in, in, out, out, out)
				e.r.Put(6, m.Table(in, in, out, out))
				heads := []uint16{0, 6}
				var chain vring.Chain
				buf := make([]byte, 64)
				fail := func(err error) {
					if err != nil {
						t.Error(err)
					}
				}
				serve := func() {
					e.r.Offer(heads...)
					for range heads {
						_, err := e.q.Pop(&chain)
						fail(err)
						_, err = chain.Read(buf)
						fail(err)
						_, err = chain.Write(buf[:2])
						fail(err)
						if chain.Straight() {
							_, err = chain.Fill(3, once)
							fail(err)
						}
						_, err = chain.WriteAt(buf[:2], 0)
						fail(err)
						_, err = chain.Write(buf[:chain.Writable()])
						fail(err)
						e.q.Push(&chain)
						fail(e.q.Show())
					}
					_, err := e.q.Publish()
					fail(err)
					e.q.Disarm()
					_, err = e.q.Arm()
					fail(err)
					_, err = e.q.Available()
					fail(err)
				}
				serve() // the Chain meets its longest chain
				assert.Equal(t, testing.AllocsPerRun(200, serve), 0.0)
			})
		}
	}
}
