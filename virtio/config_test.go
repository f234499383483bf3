package virtio_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
	"gotest.tools/v3/assert"
)

// text is a configuration space of 8 bytes.
func text(p []byte, off int) { copy(p, "CONFIGUR"[off:]) }

func TestCFG_01_ConfigReadableBeforeFeaturesOK(t *testing.T) {
	r := newRig(t, &toy{info: virtio.Info{ConfigLen: 8}, readConfig: text})
	for _, s := range []virtio.Status{0, ack, ack | driver} {
		if s != 0 {
			assert.Equal(t, r.Device.SetStatus(s), s)
		}
		// Every piece of it, and zeros beyond its end.
		const all = "CONFIGUR\x00\x00\x00\x00"
		for off := range len(all) {
			for n := range len(all) - off + 1 {
				p := []byte(strings.Repeat("x", n))
				r.Device.ReadConfig(p, off)
				assert.Equal(t, string(p), all[off:off+n], "at status %v", s)
			}
		}
		p := []byte("xx")
		r.Device.ReadConfig(p, -1)
		assert.Equal(t, string(p), "\x00\x00")
	}
}

func TestCFG_03_ConfigChangeNotification(t *testing.T) {
	change := make(chan struct{})
	var former *virtio.Session
	b := &toy{serve: func(ctx context.Context, s *virtio.Session) error {
		for former = s; ; s.ConfigChanged() {
			select {
			case <-change:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}}
	r := newRig(t, b)
	assert.NilError(t, r.Up(r.Device.Offered()))
	for i := range uint64(3) {
		assert.Equal(t, r.ConfigNotifications(), i)
		assert.Equal(t, uint64(r.Device.Generation()), i)
		change <- struct{}{}
		eventually(t, r, "the notification", func() bool { return r.ConfigNotifications() == i+1 })
	}
	assert.NilError(t, r.Reset())

	// A session that is over has nobody to tell; still no two versions have one number.
	former.ConfigChanged()
	assert.Equal(t, r.ConfigNotifications(), uint64(3))
	assert.Equal(t, r.Device.Generation(), uint32(4))
}

func TestWriteConfig(t *testing.T) {
	var got []string
	b := &picky{toy: toy{info: virtio.Info{ConfigLen: 8}}, writeConfig: func(p []byte, off int) error {
		if off == 4 {
			return errors.New("read-only")
		}
		got = append(got, string(p))
		return nil
	}}
	r := newRig(t, b)
	assert.Assert(t, r.Device.TakesConfig())
	for _, tt := range []struct {
		p   string
		off int
	}{{"ab", 0}, {"c", 7}, {"", 8}, {"no", 4}, {"no", 7}, {"no", 8}, {"no", 9}, {"no", -1}, {strings.Repeat("no", 8), 0}} {
		r.Device.WriteConfig([]byte(tt.p), tt.off)
	}
	assert.DeepEqual(t, got, []string{"ab", "c", ""})
	assert.Equal(t, r.Device.Stats().Faults, uint64(6))

	r = newRig(t, &toy{info: virtio.Info{ConfigLen: 8}})
	assert.Assert(t, !r.Device.TakesConfig())
	r.Device.WriteConfig([]byte("ab"), 0)
	assert.Equal(t, r.Device.Stats().Faults, uint64(1))
}

// A panic in a call that the transport makes stops the device, not the transport.
func TestConfigPanics(t *testing.T) {
	boom := func([]byte, int) { panic("boom") }
	b := &picky{
		negotiate:   func(virtio.Features) error { return nil },
		writeConfig: func(p []byte, off int) error { boom(p, off); return nil },
		toy:         toy{info: virtio.Info{ConfigLen: 8}, readConfig: boom},
	}
	for name, call := range map[string]func(*virtio.Device){
		"ReadConfig":  func(d *virtio.Device) { d.ReadConfig(make([]byte, 8), 0) },
		"WriteConfig": func(d *virtio.Device) { d.WriteConfig(make([]byte, 8), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, b)
			assert.NilError(t, r.Up(r.Device.Offered()))
			mustEcho(t, r)
			call(r.Device)
			assert.ErrorContains(t, r.Device.Broken(), "backend panicked in "+name+": boom")
			assert.Assert(t, r.Device.Status()&virtio.NeedsReset != 0)
			assert.NilError(t, r.Reset())
			assert.NilError(t, r.Up(r.Device.Offered()))
			mustEcho(t, r)
			assert.NilError(t, r.Reset())
		})
	}
}

// A driver can do wrong as often as it likes without filling the log.
func TestLogIsBounded(t *testing.T) {
	var log strings.Builder
	r := virtiotest.NewRig(t, &toy{}, virtiotest.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 1000 {
		r.Device.SetStatus(ack | driver | features) // refused: no VERSION_1
		r.Device.WriteConfig([]byte{1}, 0)
	}
	assert.Equal(t, r.Device.Stats().Faults, uint64(2000))
	lines := strings.Count(log.String(), "\n")
	assert.Assert(t, lines >= 2 && lines < 20, "%d lines", lines)
	assert.Assert(t, strings.Contains(log.String(), "device=TestLogIsBounded"), log.String())
	assert.Assert(t, strings.Contains(log.String(), "VERSION_1"), log.String())
}
