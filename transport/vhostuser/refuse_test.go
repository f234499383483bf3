package vhostuser

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	vu "github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
	"github.com/hypervisorless/virtio/virtio"
)

// stuck is a toy that returns from Serve only when it is let go.
type stuck struct {
	*toy
	let chan struct{}
}

func (y *stuck) Serve(ctx context.Context, s *virtio.Session) error {
	err := y.toy.Serve(ctx, s)
	<-y.let
	return err
}

// A backend that does not stop is named, and is waited for by nobody for ever; what it can no
// longer touch is let go of.
func TestStuckBackend(t *testing.T) {
	y := &stuck{newToy(1), make(chan struct{})}
	s := newServer(t, y, Options{})
	s.patience = 50 * time.Millisecond
	fds, maps := open(t), shared(t)
	fe, done := connect(t, s)
	g, err := vu.NewGuest(vu.Options{Sizes: []uint16{8}})
	assert.NilError(t, err)
	assert.NilError(t, g.Attach(fe))
	echo(t, g, 0)
	assert.NilError(t, g.Close())
	assert.ErrorContains(t, ended(t, done), "the backend did not stop within")
	until(t, "descriptors left", func() bool { return open(t) <= fds })
	assert.Assert(t, shared(t) <= maps)

	fe, done = connect(t, s)
	g = newGuest(t, vu.Options{Sizes: []uint16{8}, Acked: true})
	assert.ErrorIs(t, g.Attach(fe), vu.ErrRefused)
	assert.NilError(t, g.Detach())
	assert.ErrorContains(t, ended(t, done), "the backend did not stop within")

	close(y.let)
	s.patience = patience
	until(t, "end of the session", s.dev.Quiet)
	serveOne(t, s, vu.Options{Sizes: []uint16{8}})
}

// picky is a toy that does not like some features.
type picky struct{ *toy }

func (picky) Negotiate(f virtio.Features) error {
	if f.Has(virtio.EventIdx) {
		return errors.New("no event indexes here")
	}
	return nil
}

// FEAT_03: features that the device cannot work with are refused, in the status where there is
// one.
func TestFEAT_03_RefusedFeatures(t *testing.T) {
	s := newServer(t, picky{newToy(1)}, Options{})
	fe, done := connect(t, s)
	g := newGuest(t, vu.Options{Sizes: []uint16{8}, EventIdx: true, Acked: true})
	assert.ErrorIs(t, g.Attach(fe), vu.ErrRefused)
	assert.ErrorContains(t, ended(t, done), "does not work with these features")
	assert.NilError(t, g.Detach())

	fe, done = connect(t, s)
	g = newGuest(t, vu.Options{Sizes: []uint16{8}, EventIdx: true, Status: true})
	assert.ErrorContains(t, g.Attach(fe), "status is")
	assert.NilError(t, g.Detach())
	assert.NilError(t, ended(t, done))
	serveOne(t, s, vu.Options{Sizes: []uint16{8}})
}

// In-band notifications need a channel, and answers.
func TestInbandAlone(t *testing.T) {
	s := newServer(t, newToy(1), Options{Inband: true})
	for _, p := range []vu.Protocol{vu.InBandNotify, vu.InBandNotify | vu.ReplyAck, vu.InBandNotify | vu.BackendReq} {
		fe, done := connect(t, s)
		assert.NilError(t, fe.SetProtocolFeatures(p))
		assert.NilError(t, fe.Closed())
		assert.ErrorContains(t, ended(t, done), "without a back-end channel or REPLY_ACK")
		fe.Close()
	}
}

// A queue that cannot be started is one line in the log that says which, of what device, and why,
// however often it is tried.
func TestRefusalIsLoggedOnce(t *testing.T) {
	var book logbook
	fe, done := connect(t, newServer(t, newToy(2), Options{Log: book.logger()}))
	g := newGuest(t, vu.Options{Sizes: []uint16{8, 8}, Acked: true})
	assert.NilError(t, g.Attach(fe))
	for range 10 {
		assert.NilError(t, g.Queues[1].Disable())
		assert.NilError(t, fe.SetVringAddr(1, 8, 8, 8))
		assert.ErrorIs(t, g.Queues[1].Enable(), vu.ErrRefused)
	}
	assert.NilError(t, g.Detach())
	assert.NilError(t, ended(t, done))
	lines := book.warnings()
	assert.Equal(t, len(lines), 1, "%q", lines)
	for _, word := range []string{"device=toy", "queue 1 cannot be started", "outside of its memory"} {
		assert.Assert(t, strings.Contains(lines[0], word), "no %q in %q", word, lines[0])
	}
}

// What cannot be served behind this protocol is said at once.
func TestNewRefuses(t *testing.T) {
	many := newToy(maxQueues + 1)
	_, err := New("many", many, Options{})
	assert.ErrorContains(t, err, "257 queues")
	wide := newToy(1)
	wide.info.ConfigLen = maxPayload
	_, err = New("wide", wide, Options{})
	assert.ErrorContains(t, err, "does not fit a message")
	_, err = New("none", newToy(0), Options{})
	assert.ErrorContains(t, err, "at least one queue")
}

// An in-flight area that is too small for a queue keeps that queue from starting, and no other.
func TestSmallInflightArea(t *testing.T) {
	fe, _ := connect(t, newServer(t, newToy(3), Options{}))
	g := newGuest(t, vu.Options{Sizes: []uint16{8, 16, 8}, Acked: true})
	assert.NilError(t, g.Negotiate(fe))
	assert.NilError(t, g.Share())
	area, err := fe.GetInflightFD(2, 8)
	assert.NilError(t, err)
	defer area.Close()
	assert.NilError(t, fe.SetInflightFD(area))
	for i, ok := range []bool{true, false, false} {
		assert.NilError(t, g.Queues[i].Place())
		if err := g.Queues[i].Enable(); ok {
			assert.NilError(t, err)
			echo(t, g, i)
		} else {
			assert.ErrorIs(t, err, vu.ErrRefused)
		}
	}
	assert.NilError(t, fe.SetVringEnable(0, true))
	echo(t, g, 0)
}

// A region that overlaps another one is not added.
func TestAddedRegionOverlaps(t *testing.T) {
	s := newServer(t, newToy(1), Options{})
	file := memfd(t, 1<<13)
	for _, r := range []vu.Region{
		{Guest: 1 << 12, User: 1 << 20, Size: 1 << 13, File: file},
		{Guest: 1 << 20, User: 1 << 12, Size: 1 << 13, File: file},
	} {
		maps := shared(t)
		fe, done := connect(t, s)
		assert.NilError(t, fe.AddMemReg(vu.Region{Size: 1 << 13, File: file}))
		assert.NilError(t, fe.AddMemReg(r))
		assert.NilError(t, fe.Closed())
		assert.ErrorContains(t, ended(t, done), "overlap")
		assert.Equal(t, shared(t), maps)
		fe.Close()
	}
}
