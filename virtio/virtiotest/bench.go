package virtiotest

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/hypervisorless/virtio/virtio"
)

// bench is a Rig with a subject on it.
type bench struct {
	*Rig
	Subject
	log *logbook
}

func newBench(t testing.TB, s Subject, o Options) (*bench, error) {
	log := &logbook{}
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	o.Patience = s.Patience
	o.Buffers = max(o.Buffers, s.room())
	r, err := OpenRig(t.Name(), s.Backend, o)
	if err != nil {
		return nil, err
	}
	return &bench{Rig: r, Subject: s, log: log}, nil
}

// room is how much memory the script needs in the most wasteful framing, and an attack with many
// of its requests at once.
func (s *Subject) room() uint64 {
	n := 16 << 10
	for _, r := range s.Script {
		n = max(n, 16<<10+40*(len(r.Readable)+r.Writable))
	}
	for _, r := range s.Script {
		n += len(r.Readable) + r.Writable + 2<<10
	}
	return uint64(n)
}

// features is what the driver asks for to play the script.
func (b *bench) features() virtio.Features {
	own := b.Subject.Features
	if own == (virtio.Features{}) {
		own = b.Device.Info().Features
	}
	return own.With(b.opts.Offer)
}

// up brings the device up to play the script.
func (b *bench) up() error { return b.Up(b.features()) }

// again plays the script from reset.
func (b *bench) again(w *watch, f frame) error {
	if err := b.Reset(); err != nil {
		return err
	}
	if err := b.up(); err != nil {
		return err
	}
	return b.play(w, b.Script, f)
}

// works proves that the device serves a good driver, from reset.
func (b *bench) works() error { return b.again(nil, plain) }

// recovers proves that the device serves a good driver after whatever happened to it. Input that
// was on its way then may still arrive, so there is more than one try.
func (b *bench) recovers() (err error) {
	for try := range 4 {
		if err := b.Reset(); err != nil {
			return fmt.Errorf("afterwards: %w", err)
		}
		if b.Settle != nil {
			b.Settle()
		}
		if err = b.works(); err == nil {
			return nil
		}
		if err := b.drain(2 * time.Millisecond << (3 * try)); err != nil {
			return fmt.Errorf("afterwards: %w", err)
		}
	}
	return fmt.Errorf("wedged: a good driver after the reset: %w", err)
}

// drain takes the input that is on its way, until there has been none for a while. What else the
// device answers is of no interest.
func (b *bench) drain(quiet time.Duration) error {
	if err := b.Reset(); err != nil {
		return err
	}
	if err := b.up(); err != nil {
		return err
	}
	patience := b.opts.Patience
	b.opts.Patience = quiet
	defer func() { b.opts.Patience = patience }()
	for i, req := range b.Script {
		req.Check = nil
		input := req.Stimulus != nil
		req.Stimulus = nil
		for again := true; again && b.queues[req.Queue].Free() >= 2; again = input {
			fl, err := b.send(nil, i, &req, plain)
			if err != nil {
				return err
			}
			if req.Deferred || fl.finish(nil) != nil {
				break
			}
		}
	}
	return nil
}

// logbook is the end of a log, for failure messages.
type logbook struct {
	mu   sync.Mutex
	text []byte
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if n := len(l.text) - 8<<10; n > 0 {
		l.text = append(l.text[:0], l.text[n:]...)
	}
	return len(p), nil
}

func (l *logbook) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.text) == 0 {
		return ""
	}
	return fmt.Sprintf("\nThe device's log:\n%s", bytes.TrimSpace(l.text))
}
