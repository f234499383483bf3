package driver_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

const (
	winAddr = 0x37000000
	winSize = 1 << 20
	hang    = 20 * time.Second // only ever reached by a test that fails
)

// bounded is a context that ends a hang.
func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	return ctx
}

// recv is the next value, or the end of a test that hangs.
func recv[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(hang):
		t.Fatal("hangs")
	}
	return v
}

// echo is a device that answers each request with the bytes it read, by its own rules.
type echo struct {
	queues   int
	features virtio.Features
	inOrder  bool
	layout   mmio.Layout
	hold     chan struct{} // if not nil, a request is answered for each token
}

func (e *echo) Info() virtio.Info {
	return virtio.Info{
		ID: virtio.IDEntropy, Queues: make([]uint16, e.queues), InOrder: e.inOrder,
		Features: e.features.Without(virtio.FeatureSet(virtio.EventIdx)), // that one is the transport's
	}
}

func (e *echo) ReadConfig([]byte, int) {}

func (e *echo) Serve(ctx context.Context, s *virtio.Session) error {
	done := make(chan error, e.queues)
	for i := range e.queues {
		go func() {
			buf := make([]byte, 1<<16)
			done <- s.Queue(i).Handle(ctx, func(c *vring.Chain) error {
				if e.hold != nil {
					select {
					case <-e.hold:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				n, err := c.Read(buf)
				if err != nil && err != io.EOF {
					return err
				}
				_, err = c.Write(buf[:min(uint64(n), c.Writable())])
				return err
			})
		}()
	}
	var errs []error
	for range e.queues {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

// device names a backend for serve.
type device struct {
	name    string
	backend virtio.Backend
	mem     uint64
}

// serve runs a monitor from now until the test ends.
func serve(t testing.TB, o mmio.Options, devices ...device) {
	t.Helper()
	ready := make(chan struct{})
	o.Addr, o.Log, o.Ready = winAddr, slog.New(slog.DiscardHandler), func() { close(ready) }
	bus, err := mmio.NewBus(o)
	assert.NilError(t, err)
	for _, d := range devices {
		assert.NilError(t, bus.Add(d.name, d.backend, d.mem))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bus.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NilError(t, <-done)
	})
	<-ready
}

// open is a front-end of the window; its doorbell is served until the test ends.
func open(t testing.TB, o driver.Options) *driver.Window {
	t.Helper()
	o.Addr = winAddr
	w, err := driver.Open(o)
	assert.NilError(t, err)
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func run(t testing.TB, w *driver.Window) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// linked is a started echo device in a window of its own.
func linked(t testing.TB, e *echo, o driver.Options, sizes ...uint16) *driver.Device {
	t.Helper()
	region := shmem.NewHeap(winSize)
	if e.features.Has(virtio.EventIdx) {
		// The race detector knows no 16-bit atomics, and does not look at mappings.
		var err error
		region, err = shmem.NewMemfd("window", winSize)
		assert.NilError(t, err)
		t.Cleanup(func() { assert.NilError(t, region.Close()) })
	}
	host, guest := notify.NewPair()
	serve(t, mmio.Options{Region: region, Line: host, Offer: e.features, Layout: e.layout}, device{"echo", e, 0})
	o.Region, o.Line = region, guest
	w := open(t, o)
	d, err := w.Find(bounded(t), virtio.IDEntropy, 0)
	assert.NilError(t, err)
	if len(sizes) == 0 {
		sizes = make([]uint16, e.queues)
	}
	assert.NilError(t, d.Start(bounded(t), driver.Config{Sizes: sizes, Features: e.features}))
	return d
}

var dialects = []driver.Dialect{driver.Zephyr2021, driver.VirtioExp, driver.V2025}
