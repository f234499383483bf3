package virtio_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"gotest.tools/v3/assert"
)

// However a backend leaves its session, the device is stopped, the driver told, and the next
// session is served.
func TestServeLeaves(t *testing.T) {
	for _, tt := range []struct {
		name  string
		leave func() error
		want  string
	}{
		{"with an error", func() error { return errors.New("disk gone") }, "disk gone"},
		{"with no error", func() error { return nil }, "returned from Serve"},
		{"with somebody else's context", func() error { return context.Canceled }, "context canceled"},
		{"by a panic", func() error { panic("boom") }, "backend panicked in Serve: boom"},
		{"by Goexit", func() error { runtime.Goexit(); return nil }, "returned from Serve"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first := true
			b := &toy{serve: func(ctx context.Context, s *virtio.Session) error {
				if first {
					first = false
					return tt.leave()
				}
				return s.Queue(0).Handle(ctx, echo)
			}}
			var log strings.Builder
			r := virtiotest.NewRig(t, b, virtiotest.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
			assert.NilError(t, r.Up(r.Device.Offered()))
			eventually(t, r, "the notification", func() bool { return r.ConfigNotifications() == 1 })
			assert.ErrorContains(t, r.Device.Broken(), tt.want)
			assert.Assert(t, r.Device.Status()&virtio.NeedsReset != 0)
			assert.Assert(t, !r.Device.Live())
			assert.Equal(t, strings.Contains(log.String(), "serve_test.go"), strings.Contains(tt.want, "panicked"),
				"only a panic needs a stack: %s", &log)

			r.Device.Start()
			assert.Assert(t, !r.Device.Live(), "not before a reset")
			assert.NilError(t, r.Reset())
			assert.NilError(t, r.Up(r.Device.Offered()))
			mustEcho(t, r)
			assert.NilError(t, r.Reset())
		})
	}
}

// What a backend says when it was told to leave is of no interest.
func TestServeLeavesAtReset(t *testing.T) {
	for name, leave := range map[string]func() error{
		"error": func() error { return errors.New("interrupted") },
		"panic": func() error { panic("interrupted") },
		"none":  func() error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, &toy{serve: func(ctx context.Context, s *virtio.Session) error {
				<-ctx.Done()
				assert.Check(t, errors.Is(context.Cause(ctx), virtio.ErrEnded))
				return leave()
			}})
			assert.NilError(t, r.Up(r.Device.Offered()))
			assert.NilError(t, r.Reset())
			assert.NilError(t, r.Device.Broken())
			assert.Equal(t, r.ConfigNotifications(), uint64(0))
		})
	}
}

// The fault of one queue ends the session of the whole device, also for those who wait.
func TestFaultEndsTheSession(t *testing.T) {
	left := make(chan error, 1)
	b := &toy{info: virtio.Info{Queues: []uint16{8, 8}}, serve: func(ctx context.Context, s *virtio.Session) error {
		go func() { left <- s.Queue(1).Handle(ctx, echo) }()
		return s.Queue(0).Handle(ctx, echo)
	}}
	r := up(t, b, virtiotest.Options{})
	breakRing(r)
	assert.ErrorIs(t, <-left, context.Canceled)
	eventually(t, r, "quiet", r.Device.Quiet)
}
