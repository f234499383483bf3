package hvl2

import (
	"context"
	"io"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// toy is a device made of functions; what is nil is queues that echo and a configuration of
// zeros.
type toy struct {
	info   virtio.Info
	serve  func(ctx context.Context, s *virtio.Session) error
	config func(p []byte, off int)
}

func (d *toy) Info() virtio.Info {
	info := d.info
	if info.ID == 0 {
		info.ID = virtio.IDEntropy
	}
	if info.Queues == nil {
		info.Queues = []uint16{0, 64}
	}
	return info
}

func (d *toy) ReadConfig(p []byte, off int) {
	if d.config != nil {
		d.config(p, off)
	}
}

func (d *toy) Serve(ctx context.Context, s *virtio.Session) error {
	if d.serve != nil {
		return d.serve(ctx, s)
	}
	n := len(d.Info().Queues)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	left := make(chan error, n)
	for i := range n {
		go func() { left <- s.Queue(i).Handle(ctx, echo) }()
	}
	var err error
	for range n {
		if e := <-left; err == nil {
			err = e
			stop()
		}
	}
	return err
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

// inOrder is a toy that completes in order.
func inOrder() *toy { return &toy{info: virtio.Info{InOrder: true}} }

// redoing is a toy that completes out of order, and bears requests that are done twice.
func redoing() *toy { return &toy{info: virtio.Info{Redo: true}} }
