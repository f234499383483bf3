package rng

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// MaxRequest is how many bytes one request gets at most, however large its buffers are: a
// driver must not keep the device busy for long with a single descriptor.
const MaxRequest = 64 << 10

// chunk is how many bytes are taken from the source at a time.
const chunk = 4 << 10

// Options says where the bytes come from and how fast.
type Options struct {
	// Source is read for random bytes, one Read at a time and of 4096 bytes at most. It may
	// block, and a short read says that it has no more just now: the request is answered with
	// what there is. An error before the first byte of a request breaks the device until the
	// driver resets it (DEVICE_NEEDS_RESET). Nil is the operating system's generator.
	Source io.Reader
	// Rate is the limit in bytes per second, 0 for none. What a second allows can be taken at
	// once; a request that the limit holds up waits at most a second and then gets its bytes,
	// or a second's worth of them. A reset does not fill the bucket again.
	Rate uint64
}

// Device is an entropy device (5.4).
type Device struct {
	source *source
	rate   bucket
	chain  vring.Chain
}

var _ virtio.Backend = (*Device)(nil)

// New makes an entropy device.
func New(o Options) *Device {
	return &Device{source: newSource(o.Source), rate: bucket{rate: o.Rate}}
}

// Info implements virtio.Backend: one queue, no features, no configuration space (5.4.2 to
// 5.4.4).
func (d *Device) Info() virtio.Info {
	return virtio.Info{ID: virtio.IDEntropy, Queues: []uint16{0}, InOrder: true}
}

// ReadConfig implements virtio.Backend; there is nothing to read.
func (d *Device) ReadConfig([]byte, int) {}

// errNoRoom refuses a request that has nothing to write to.
var errNoRoom = errors.New("request has no device-writable byte")

// Serve implements virtio.Backend.
func (d *Device) Serve(ctx context.Context, s *virtio.Session) error {
	q := s.Queue(0)
	for {
		if err := q.Next(ctx, &d.chain); err != nil {
			return err
		}
		if d.chain.Writable() == 0 {
			q.Refuse(&d.chain, errNoRoom)
			continue
		}
		if err := d.fill(ctx, q); err != nil {
			return err
		}
	}
}

// fill answers one request.
func (d *Device) fill(ctx context.Context, q *virtio.Queue) error {
	want := int(min(d.chain.Writable(), MaxRequest))
	if d.rate.rate > 0 {
		var err error
		if want, err = d.rate.wait(ctx, q, want); err != nil {
			return err
		}
	}
	for want > 0 {
		asked := min(want, chunk)
		p, err := d.source.next(ctx, q, asked)
		if err != nil {
			if d.chain.Written() == 0 {
				return sourceError(ctx, err)
			}
			break // the next request meets the error again
		}
		_, err = d.chain.Write(p)
		clear(p)
		switch {
		case errors.Is(err, vring.ErrShut):
			return nil // Next knows why
		case err != nil:
			q.Refuse(&d.chain, err)
			return nil
		}
		want -= len(p)
		if len(p) < asked {
			break
		}
	}
	d.rate.spend(uint64(d.chain.Written()))
	q.Done(&d.chain)
	return nil
}

func sourceError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("entropy source: %w", err)
}
