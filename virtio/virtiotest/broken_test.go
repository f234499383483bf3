package virtiotest

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
	"gotest.tools/v3/assert"
)

// Every way to get a device wrong that the kit promises to find. Each is the reverser with one
// mistake.
func TestKitCatches(t *testing.T) {
	stop := make(chan struct{}) // lets go of what is stuck
	defer close(stop)
	handle := func(fn func(c *vring.Chain) error) func(context.Context, *virtio.Session) error {
		return func(ctx context.Context, s *virtio.Session) error { return s.Queue(0).Handle(ctx, fn) }
	}
	for _, tt := range []struct {
		mistake string
		in      string // the trial that is to find it
		want    string // what it says
		serve   func(ctx context.Context, s *virtio.Session) error
	}{
		{
			"takes the first descriptor for the request", "framing", "in descriptors of one byte, direct: answer of 0 bytes",
			handle(func(c *vring.Chain) error {
				if c.Descriptors() > 2 {
					return errors.New("where is the rest?")
				}
				return reverse(c)
			}),
		},
		{
			"loses a head", "framing", "nothing came back", func(ctx context.Context, s *virtio.Session) error {
				var c vring.Chain
				for n := 0; ; n++ {
					if err := s.Queue(0).Next(ctx, &c); err != nil {
						return err
					}
					if n != 1 {
						reverse(&c)
						s.Queue(0).Done(&c)
					}
				}
			},
		},
		{
			"loses the head of a bad request", "hostile/modern, event-idx, normal memory/queue 0/empty", "still not back",
			func(ctx context.Context, s *virtio.Session) error {
				var c vring.Chain
				for {
					if err := s.Queue(0).Next(ctx, &c); err != nil {
						return err
					}
					if reverse(&c) == nil {
						s.Queue(0).Done(&c)
					}
				}
			},
		},
		{
			"holds a request until the next", "framing", "nothing came back", func(ctx context.Context, s *virtio.Session) error {
				var chains [2]vring.Chain
				for n := 0; ; n++ {
					if err := s.Queue(0).Next(ctx, &chains[n%2]); err != nil {
						return err
					}
					if n > 0 {
						reverse(&chains[(n+1)%2])
						s.Queue(0).Done(&chains[(n+1)%2])
					}
				}
			},
		},
		{
			"does not flush before it waits", "framing", "nothing came back", func(ctx context.Context, s *virtio.Session) error {
				var c vring.Chain
				if err := s.Queue(0).Next(ctx, &c); err != nil {
					return err
				}
				reverse(&c)
				s.Queue(0).Done(&c)
				<-ctx.Done()
				return ctx.Err()
			},
		},
		{
			"answers too much", "framing", `answer of 12 bytes: "87654321\x00\x00\x00\x00"`, handle(func(c *vring.Chain) error {
				reverse(c)
				_, err := c.Write(make([]byte, c.Writable()))
				return err
			}),
		},
		{
			"does not say how much it wrote", "framing", "wrote behind the used length 0", handle(func(c *vring.Chain) error {
				reverse(c)
				return errors.New("oops")
			}),
		},
		{
			"blocks the reset", "reset in the middle", "no end of the reset", handle(func(c *vring.Chain) error {
				select {
				case <-time.After(5 * time.Millisecond):
				case <-stop:
				}
				if _, err := c.Read(nil); err != nil {
					<-stop
				}
				return reverse(c)
			}),
		},
		{
			"does not notice the reset in a long request", "hostile/enormous", "no end of the reset", handle(func(c *vring.Chain) error {
				p := make([]byte, 8)
				for c.Readable() > 8 {
					c.Read(p) // an error is not the end of it
					select {
					case <-stop:
						return nil
					default:
					}
				}
				return reverse(c)
			}),
		},
		{
			"panics", "hostile/modern, event-idx, normal memory/queue 0/requests cut short", "index out of range",
			handle(func(c *vring.Chain) error {
				p := make([]byte, 8)
				n, _ := c.Read(p)
				p = p[:n]
				for i := range 4 {
					p[i], p[7-i] = p[7-i], p[i]
				}
				_, err := c.Write(p)
				return err
			}),
		},
		{
			"divides by the size of its queue", "few queues", "panicked with queue -1", func(ctx context.Context, s *virtio.Session) error {
				_ = 1 << 16 / s.Queue(0).Size()
				return serveReverse(ctx, s)
			},
		},
		{
			"gives up over a bad request", "hostile/modern, event-idx, normal memory/queue 0/junk", "the device gave up",
			func(ctx context.Context, s *virtio.Session) error {
				var c vring.Chain
				for {
					if err := s.Queue(0).Next(ctx, &c); err != nil {
						return err
					}
					if err := reverse(&c); err != nil {
						return err
					}
					s.Queue(0).Done(&c)
				}
			},
		},
		{
			"returns from Serve", "framing", "returned from Serve", func(context.Context, *virtio.Session) error { return nil },
		},
		{
			"leaves a goroutine behind", "sessions", "goroutines behind", func(ctx context.Context, s *virtio.Session) error {
				go func() { <-stop }()
				return serveReverse(ctx, s)
			},
		},
		{
			"remembers the last session", "sessions", "not \"87654321\"", remembering(),
		},
		{
			"buys memory by the length of the request", "hostile/enormous", "MiB of memory", handle(func(c *vring.Chain) error {
				if _, err := io.ReadFull(c, make([]byte, c.Readable())); err != nil {
					return err
				}
				return errors.New("not for me")
			}),
		},
	} {
		t.Run(tt.mistake, func(t *testing.T) {
			err := firstError(t, tt.in, func(testing.TB) Subject {
				s := reverser(tt.serve)
				if !strings.Contains(tt.want, "MiB") { // it is slow to buy
					s.Patience = 300 * time.Millisecond
				}
				return s
			})
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

// remembering answers right in its first two sessions.
func remembering() func(context.Context, *virtio.Session) error {
	var sessions atomic.Int32
	return func(ctx context.Context, s *virtio.Session) error {
		late := sessions.Add(1) > 2
		return s.Queue(0).Handle(ctx, func(c *vring.Chain) error {
			if late {
				c.Write([]byte("again"))
				return nil
			}
			return reverse(c)
		})
	}
}

// firstError is what the first trial says that fails, of those whose name starts with prefix.
func firstError(t *testing.T, prefix string, fresh func(testing.TB) Subject) error {
	found := false
	for _, tr := range trials(fresh(t)) {
		if !strings.HasPrefix(tr.name, prefix) {
			continue
		}
		found = true
		if err := tr.attempt(t, fresh(t)); err != nil {
			return err
		}
	}
	assert.Assert(t, found, "no trial is called %q", prefix)
	return nil
}

// What the device says of itself can be wrong too.
func TestKitCatchesDescriptions(t *testing.T) {
	for _, tt := range []struct {
		mistake, in, want string
		change            func(d *mailbox, s *Subject)
	}{
		{"info that changes", "info", "what Info says changes", func(d *mailbox, s *Subject) { s.Backend = &moody{Backend: d} }},
		{"a subset refused", "features", "status is acknowledge+driver", func(d *mailbox, s *Subject) { s.Needs = nil }},
		{"a dependency ignored", "features", "were taken, but", func(d *mailbox, s *Subject) {
			s.Needs = map[virtio.Feature][]virtio.Feature{0: {1}, 1: {0}}
			s.Backend = &easy{d}
		}},
		{"configuration at the wrong place", "config", "configuration read of 1 bytes at 1", func(d *mailbox, s *Subject) {
			d.info.ConfigLen = 3
			s.Backend = &shifted{d}
		}},
		{"a panic over the configuration", "hostile/configuration", "panicked in WriteConfig", func(d *mailbox, s *Subject) {
			d.info.ConfigLen = 3
			s.Backend = &writer{d}
		}},
		{"a device that gives up over a buffer for later", "hostile/modern, event-idx, normal memory/queue 2/empty, readable", "the device gave up",
			func(d *mailbox, s *Subject) { d.touchy = true }},
		{"an empty script", "info", "the script is empty", func(d *mailbox, s *Subject) { s.Script = nil }},
		{"a script for another device", "info", "request 0: queue 4 of 4", func(d *mailbox, s *Subject) { s.Script[0].Queue = 4 }},
		{"a request of nothing", "info", "request 1 has neither", func(d *mailbox, s *Subject) { s.Script[1].Writable = 0 }},
		{"a host that fails", "framing", "stimulus: no host", func(d *mailbox, s *Subject) {
			s.Script[1].Stimulus = func() error { return errors.New("no host") }
		}},
	} {
		t.Run(tt.mistake, func(t *testing.T) {
			err := firstError(t, tt.in, func(testing.TB) Subject {
				d, s := newMailbox()
				tt.change(d, &s)
				return s
			})
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

type moody struct {
	virtio.Backend
	asked uint16
}

func (d *moody) Info() virtio.Info {
	info := d.Backend.Info()
	d.asked++
	info.ConfigLen = int(d.asked)
	return info
}

type easy struct{ *mailbox }

func (*easy) Negotiate(virtio.Features) error { return nil }

type shifted struct{ *mailbox }

func (*shifted) ReadConfig(p []byte, _ int) { copy(p, "toy") }

type writer struct{ *mailbox }

func (*writer) WriteConfig(p []byte, _ int) error {
	if len(p) > 2 {
		panic("too much")
	}
	return nil
}
