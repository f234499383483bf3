package vhostuser

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	vu "github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
)

// A socket that a dead process left is taken over; one that is in use, or a file, is not.
func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := Listen(path)
	assert.NilError(t, err)
	_, err = Listen(path)
	assert.Assert(t, errors.Is(err, unix.EADDRINUSE))
	l.SetUnlinkOnClose(false) // as if killed
	l.Close()
	l, err = Listen(path)
	assert.NilError(t, err)
	l.Close()
	_, err = os.Stat(path)
	assert.Assert(t, errors.Is(err, os.ErrNotExist))

	assert.NilError(t, os.WriteFile(path, []byte("mine"), 0o600))
	_, err = Listen(path)
	assert.Assert(t, errors.Is(err, unix.EADDRINUSE))
	p, err := os.ReadFile(path)
	assert.NilError(t, err)
	assert.Equal(t, string(p), "mine")
}

// One front-end after the other, until the end, which also ends one that is being served.
func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := Listen(path)
	assert.NilError(t, err)
	y := newToy(1)
	s := newServer(t, y, Options{})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	g := newGuest(t, vu.Options{Sizes: []uint16{8}})
	for life := range 20 {
		assert.NilError(t, g.Dial(path))
		echo(t, g, 0)
		st := s.Stats()
		assert.Assert(t, st.Live)
		assert.Equal(t, st.Sessions, uint64(life+1))
	}
	stop()
	assert.NilError(t, ended(t, done))
	assert.Assert(t, !s.Stats().Live)
	assert.NilError(t, g.Detach())
}

// Whoever waits for his turn does not wait beyond the end.
func TestServeGivesUpItsTurn(t *testing.T) {
	s := newServer(t, newToy(1), Options{})
	fe, done := connect(t, s)
	_, err := fe.GetFeatures()
	assert.NilError(t, err)
	_, theirs, err := vu.SocketPair()
	assert.NilError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	second := make(chan error, 1)
	sock := unixConn(t, theirs)
	go func() { second <- s.Serve(ctx, sock) }()
	cancel()
	assert.NilError(t, ended(t, second))
	fe.Close()
	assert.NilError(t, ended(t, done))
}
