package virtiotest

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"
	"testing"

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

// works proves that the device serves a good driver, from reset.
func (b *bench) works() error {
	if err := b.Reset(); err != nil {
		return err
	}
	if err := b.up(); err != nil {
		return err
	}
	return b.play(b.Script, plain)
}

// recovers proves that the device serves a good driver after whatever happened to it. Input that
// was on its way then may still arrive, so it gets more than one try.
func (b *bench) recovers() (err error) {
	for range 3 {
		if err := b.Reset(); err != nil {
			return fmt.Errorf("afterwards: %w", err)
		}
		if b.Settle != nil {
			b.Settle()
		}
		if err = b.works(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("wedged: a good driver after the reset: %w", err)
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
