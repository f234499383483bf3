package vhostuser

import (
	"testing"

	"gotest.tools/v3/assert"

	vu "github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
)

// writable is a toy whose configuration space the driver may write.
type writable struct {
	*toy
	wrote []byte
	off   int
}

func (w *writable) WriteConfig(p []byte, off int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrote, w.off = append([]byte(nil), p...), off
	copy(w.config[off:], p)
	return nil
}

// The configuration space is read and written piece by piece; a read that reaches beyond it has
// the length that was asked for, all the same.
func TestConfig(t *testing.T) {
	w := &writable{toy: newToy(1)}
	w.config, w.info.ConfigLen = []byte("abcdefgh"), 8
	fe, done := connect(t, newServer(t, w, Options{}))
	g := newGuest(t, vu.Options{Sizes: []uint16{8}, Acked: true})
	assert.NilError(t, g.Attach(fe))
	for _, c := range []struct {
		off, n uint32
		want   string
	}{{0, 8, "abcdefgh"}, {3, 2, "de"}, {7, 1, "h"}, {6, 4, "gh\x00\x00"}, {0, 0, ""}} {
		got, err := fe.GetConfig(c.off, c.n)
		assert.NilError(t, err)
		assert.Equal(t, string(got), c.want)
	}
	for _, off := range []uint32{8, 1 << 31, 1<<32 - 1} {
		_, err := fe.GetConfig(off, 4)
		assert.ErrorIs(t, err, vu.ErrNoConfig)
	}
	assert.NilError(t, fe.SetConfig(2, []byte("XY")))
	w.mu.Lock()
	assert.Equal(t, string(w.wrote), "XY")
	assert.Equal(t, w.off, 2)
	w.mu.Unlock()
	for _, off := range []uint32{7, 8, 1<<32 - 1} {
		assert.ErrorIs(t, fe.SetConfig(off, []byte("no")), vu.ErrRefused)
	}
	got, err := fe.GetConfig(0, 8)
	assert.NilError(t, err)
	assert.Equal(t, string(got), "abXYefgh")
	assert.NilError(t, g.Detach())
	assert.NilError(t, ended(t, done))
}

// CFG_03: a change on the device's side is told.
func TestCFG_03_ConfigChanged(t *testing.T) {
	y := newToy(1)
	y.config, y.info.ConfigLen = []byte{0}, 1
	g, _ := attached(t, y, vu.Options{})
	echo(t, g, 0)
	for n := range 20 {
		y.mu.Lock()
		s := y.session
		y.mu.Unlock()
		s.ConfigChanged()
		until(t, "message", func() bool {
			told, _ := g.Channel.Count(vu.BackendConfigChange)
			return told == n+1
		})
	}
}
