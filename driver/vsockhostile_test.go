package driver

import (
	"context"
	"runtime"
	"testing"

	"gotest.tools/v3/assert"
)

// newDeafVsock is a socket device that nobody takes packets from.
func newDeafVsock() *Vsock {
	v := &Vsock{live: make(chan struct{}), conns: make(map[vsockPair]*VsockConn), listeners: make(map[uint32]*VsockListener)}
	v.life = &vsockLife{v: v, writers: make(map[*VsockConn]struct{})}
	close(v.live)
	return v
}

// count is how many connections there are.
func (v *Vsock) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.conns)
}

// Who gives up before anything was asked leaves nothing in the table, and asks nothing.
func TestVsock_DialThatWasCalledOff(t *testing.T) {
	v := newDeafVsock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		_, err := v.Dial(ctx, 7)
		assert.ErrorIs(t, err, context.Canceled)
	}
	assert.Equal(t, v.count(), 0)
	assert.Equal(t, len(v.life.pending), 0)
}

// A connection that comes while its listener is closed ends with the others.
func TestVsock_ListenerClosesMeanwhile(t *testing.T) {
	v := newDeafVsock()
	l, err := v.Listen(9)
	assert.NilError(t, err)
	v.life.mu.Lock() // holds up the answer
	took := make(chan bool)
	go func() { took <- l.incoming(v.life, &vsockHeader{dstPort: 9, srcPort: 7}) }()
	for v.count() == 0 {
		runtime.Gosched()
	}
	assert.NilError(t, l.Close())
	v.life.mu.Unlock()
	assert.Assert(t, <-took)
	assert.Equal(t, v.count(), 0)
}

// A packet of an earlier life opens nothing in this one.
func TestVsock_RequestOfAnEarlierLife(t *testing.T) {
	v := newDeafVsock()
	l, err := v.Listen(9)
	assert.NilError(t, err)
	assert.Assert(t, !l.incoming(&vsockLife{v: v}, &vsockHeader{dstPort: 9, srcPort: 7}))
	assert.Equal(t, v.count(), 0)
}
