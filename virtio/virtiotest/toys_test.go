package virtiotest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// toy is a device made of a function for each queue.
type toy struct {
	info  virtio.Info
	serve func(ctx context.Context, s *virtio.Session) error
}

func (d *toy) Info() virtio.Info            { return d.info }
func (d *toy) ReadConfig(p []byte, off int) { copy(p, "toy"[off:]) }
func (d *toy) Serve(ctx context.Context, s *virtio.Session) error {
	return d.serve(ctx, s)
}

// reverse answers a request of 8 bytes with the same, last one first; any other is refused.
func reverse(c *vring.Chain) error {
	var p [8]byte
	if _, err := io.ReadFull(c, p[:]); err != nil {
		return err
	}
	for i := range 4 {
		p[i], p[7-i] = p[7-i], p[i]
	}
	_, err := c.Write(p[:])
	return err
}

// reverser is a device with one queue of reverse.
func reverser(serve func(ctx context.Context, s *virtio.Session) error) Subject {
	return Subject{
		Backend: &toy{info: virtio.Info{Queues: []uint16{0}, ConfigLen: 3}, serve: serve},
		Script: []Request{
			{Readable: []byte("12345678"), Writable: 12, Check: reply("87654321")},
			{Readable: []byte("abcdefgh"), Writable: 8, Check: reply("hgfedcba")},
		},
		Patience: 20 * time.Second,
	}
}

func reply(want string) func([]byte) error {
	return func(got []byte) error {
		if string(got) != want {
			return fmt.Errorf("%q, not %q", got, want)
		}
		return nil
	}
}

func serveReverse(ctx context.Context, s *virtio.Session) error {
	return s.Queue(0).Handle(ctx, reverse)
}

// mailbox is a device whose queue 0 receives what the host sends and whose queue 1 sends what
// the host receives; queue 2 gets word of what came in on queue 1.
type mailbox struct {
	toy
	in     chan []byte
	out    chan []byte
	touchy bool // gives up when a buffer is too small
}

func newMailbox() (*mailbox, Subject) {
	d := &mailbox{in: make(chan []byte, 64), out: make(chan []byte, 1024)}
	d.info = virtio.Info{Queues: []uint16{32, 0, 0, 0}, Features: virtio.FeatureSet(0, 1)}
	d.serve = d.run
	return d, Subject{
		Backend: d,
		Needs:   map[virtio.Feature][]virtio.Feature{1: {0}},
		Script: []Request{
			{Queue: 2, Writable: 4, Deferred: true, Check: reply("sent")},
			{Queue: 0, Writable: 16, Check: reply("hello"), Stimulus: func() error { d.in <- []byte("hello"); return nil }},
			{Queue: 1, Readable: []byte("good bye"), Check: func(got []byte) error {
				if out := <-d.out; string(out) != "good bye" || len(got) > 0 {
					return fmt.Errorf("%q, and the host got %q", got, out)
				}
				return nil
			}},
		},
		Settle: func() {
			for len(d.out) > 0 {
				<-d.out
			}
		},
	}
}

func (d *mailbox) Negotiate(f virtio.Features) error {
	if f.Has(1) && !f.Has(0) {
		return fmt.Errorf("1 needs 0")
	}
	return nil
}

func (d *mailbox) run(ctx context.Context, s *virtio.Session) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error)
	news := make(chan struct{}, 1)
	go func() { errs <- d.receive(ctx, s.Queue(0)) }()
	go func() {
		errs <- s.Queue(1).Handle(ctx, func(c *vring.Chain) error {
			p := make([]byte, min(c.Readable(), 64))
			n, err := c.Read(p)
			if err != nil {
				return err
			}
			select {
			case d.out <- bytes.Clone(p[:n]):
			default: // nobody reads
			}
			select {
			case news <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	go func() { errs <- d.tell(ctx, s.Queue(2), news) }()
	err := <-errs
	cancel()
	<-errs
	<-errs
	return err
}

// receive fills buffers with what the host sends.
func (d *mailbox) receive(ctx context.Context, q *virtio.Queue) error {
	var c vring.Chain
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-d.in:
			for n := 0; n == 0; {
				if err := q.Next(ctx, &c); err != nil {
					return err
				}
				n, _ = c.Write(p)
				q.Done(&c)
				q.Flush()
			}
		}
	}
}

func (d *mailbox) tell(ctx context.Context, q *virtio.Queue, news chan struct{}) error {
	var c vring.Chain
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
			if err := q.Next(ctx, &c); err != nil {
				return err
			}
			if _, err := c.Write([]byte("sent")); err != nil && d.touchy {
				return err
			}
			q.Done(&c)
			q.Flush()
		}
	}
}

func TestReverser(t *testing.T) {
	TestBackend(t, func(testing.TB) Subject { return reverser(serveReverse) })
}

func TestMailbox(t *testing.T) {
	TestBackend(t, func(testing.TB) Subject { _, s := newMailbox(); return s })
}

// A queue may be too small for many a frame and attack.
func TestSmallQueue(t *testing.T) {
	TestBackend(t, func(testing.TB) Subject {
		s := reverser(serveReverse)
		s.Backend.(*toy).info.Queues[0] = 2
		return s
	})
}

// Chains may be served many at a time.
func TestParallel(t *testing.T) {
	TestBackend(t, func(testing.TB) Subject {
		return reverser(func(ctx context.Context, s *virtio.Session) error {
			return s.Queue(0).HandleParallel(ctx, reverse)
		})
	})
}
