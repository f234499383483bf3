package vhostuser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hypervisorless/virtio/virtio"
)

// Server is one device behind vhost-user. It serves one front-end at a time.
type Server struct {
	name     string
	dev      *virtio.Device
	log      *slog.Logger
	protocol protocolFeature // offered
	patience time.Duration   // stopTime

	turn    chan struct{} // one token, of the connection that is served
	woken   chan struct{}
	calls   []signal
	errs    []signal
	channel atomic.Pointer[channel]
}

// maxQueues is how many queues a descriptor's message can name.
const maxQueues = 256

// New makes a server for a device; the name is for messages.
func New(name string, backend virtio.Backend, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Server{
		name: name, log: o.Log.With("device", name), patience: stopTime,
		woken: make(chan struct{}, 1), turn: make(chan struct{}, 1),
	}
	dev, err := virtio.NewDevice(name, backend, carrier{s}, virtio.Options{Offer: ringFeatures, Spin: o.Spin, Log: o.Log})
	if err != nil {
		return nil, fmt.Errorf("vhostuser: %w", err)
	}
	info := dev.Info()
	if len(info.Queues) > maxQueues {
		return nil, fmt.Errorf("vhostuser: %s: %d queues, of which %d can be named", name, len(info.Queues), maxQueues)
	}
	if info.ConfigLen > maxPayload-configHeadSize {
		return nil, fmt.Errorf("vhostuser: %s: configuration of %d bytes does not fit a message", name, info.ConfigLen)
	}
	s.dev = dev
	s.protocol = protocolOffer(info, o.Inband)
	s.calls, s.errs = make([]signal, len(info.Queues)), make([]signal, len(info.Queues))
	return s, nil
}

// acceptPause is how long to leave a connection waiting that could not be accepted.
const acceptPause = time.Second

// Run accepts front-ends, one after the other, until ctx ends (nil) or the listener fails. A
// second one waits until the first has left. The listener is closed when Run returns.
func (s *Server) Run(ctx context.Context, l *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer l.Close()
	for {
		sock, err := l.AcceptUnix()
		if ctx.Err() != nil {
			if err == nil {
				_ = sock.Close()
			}
			return nil
		}
		switch {
		case err == nil:
			_ = s.Serve(ctx, sock) // logged
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
			s.log.Warn("front-end has to wait", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
		default:
			return fmt.Errorf("vhostuser: %s: %w", s.name, err)
		}
	}
}

// Serve serves one front-end that is connected already, until it hangs up (nil), does something
// that the protocol does not allow, or ctx ends (nil). Another one that is served already is
// waited for. The connection is closed and nothing of the front-end is held any more when Serve
// returns, save where the error says that the backend did not stop.
func (s *Server) Serve(ctx context.Context, sock *net.UnixConn) error {
	defer sock.Close()
	if !s.acquire(ctx) {
		return nil
	}
	defer func() { <-s.turn }()
	stop := context.AfterFunc(ctx, func() { _ = sock.Close() })
	defer stop()
	s.log.Info("front-end connected")
	err := s.serve(ctx, sock)
	if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
		err = nil
	}
	if err != nil {
		s.log.Warn("front-end dropped", "err", err)
		return fmt.Errorf("vhostuser: %s: %w", s.name, err)
	}
	s.log.Info("front-end left")
	return nil
}

// acquire waits for the turn of a connection; not beyond the end of ctx.
func (s *Server) acquire(ctx context.Context) bool {
	select {
	case s.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// Stats is a snapshot of the device. Safe for concurrent use.
func (s *Server) Stats() virtio.DeviceStats { return s.dev.Stats() }
