package uml

import (
	"context"
	"slices"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/vsock"
	"github.com/hypervisorless/virtio/internal/uml/talk"
	"github.com/hypervisorless/virtio/virtio"
)

// open is how many connections of each side's there are when something happens to them.
const open = 20

// holdOpen opens connections of each side's, and returns the host's ends of its own.
func (w *town) holdOpen(t testing.TB, v visitor) (ours []*vsock.Conn) {
	t.Helper()
	assert.NilError(t, v.do("hold", talk.VsockDo{Port: talk.PortHold, Times: open}, nil))
	for range open {
		c, err := w.Dial(v.ctx, talk.PortHold)
		assert.NilError(t, err)
		ours = append(ours, c)
	}
	return ours
}

// allEnd waits for the host's ends of all connections that were open to end.
func (w *town) allEnd(ctx context.Context, t testing.TB, ours []*vsock.Conn) {
	t.Helper()
	for _, c := range ours {
		stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
		_, err := c.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = c.Write([]byte{1})
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		assert.Check(t, c.Close())
		stop()
	}
	for range open {
		select {
		case err := <-w.ended:
			assert.ErrorIs(t, err, syscall.ECONNRESET)
		case <-ctx.Done():
			t.Fatal("the guest's connections last")
		}
	}
	w.served.Wait()
	assert.Equal(t, w.Stats().Conns, 0)
}

// A guest takes the device from its driver and gives it back, dies, and boots again, each time
// with connections open: they end, and new ones can be had.
func TestUMLVsockReboot(t *testing.T) {
	lanes(t, func(t *testing.T, l lane) {
		w, err := newTown()
		assert.NilError(t, err)
		ctx := within(t, patience)
		a := l.attach(t, l.rig, w.Device)
		v := l.visit(ctx, t, a)
		ours := w.holdOpen(t, v)
		assert.NilError(t, v.do("rebind", talk.VsockDo{}, nil))
		w.allEnd(ctx, t, ours)
		var ends []string
		assert.NilError(t, v.do("held", talk.VsockDo{}, &ends))
		assert.DeepEqual(t, ends, slices.Repeat([]string{"ECONNRESET"}, open))
		bothDial(t, w, v)

		ours = w.holdOpen(t, v)
		v.Kill()
		w.allEnd(ctx, t, ours)
		_, err = w.Dial(ctx, talk.PortEcho)
		assert.ErrorIs(t, err, vsock.ErrNoDriver)

		v = l.visit(ctx, t, a)
		bothDial(t, w, v)
		w.well(t, v)
		v.leave(t)
	})
}

// A monitor is killed with connections open. The next one knows nothing of them and tells the
// driver so, whose sockets end; the driver itself notices nothing else, and new ones can be had.
func TestUMLVsockRestart(t *testing.T) {
	const idleKills, busyKills = 3, 20
	ctx := within(t, patience)
	g, m := bootMonitored(ctx, t, virtio.IDSocket, vsockDriver, nil, "vsock", nil)
	v := visitor{g, ctx}
	for range idleKills {
		assert.NilError(t, v.do("hold", talk.VsockDo{Port: talk.PortHold, Times: open}, nil))
		m.kill(t)
		m.start(t)
		var ends []string
		assert.NilError(t, v.do("held", talk.VsockDo{}, &ends))
		assert.DeepEqual(t, ends, slices.Repeat([]string{"ECONNRESET"}, open))
		assert.NilError(t, v.do("chat", talk.VsockDo{Port: talk.PortEcho, Bytes: 1 << 16}, nil))
		var said string
		assert.NilError(t, v.do("call back", talk.VsockDo{Port: talk.PortCallBack}, &said))
		assert.Equal(t, said, "well")
	}
	lost := 0
	for range busyKills { // in the middle of things
		assert.NilError(t, v.do("hold", talk.VsockDo{Port: talk.PortHold, Times: 1}, nil))
		assert.NilError(t, v.begin("chat", talk.VsockDo{Port: talk.PortEcho, Bytes: 64 << 20}))
		time.Sleep(randomPart(20 * time.Millisecond))
		m.kill(t)
		m.start(t)
		if err := v.finish(nil); err != nil {
			lost++
		}
		// The driver may have been told already that nobody knows that connection; this one ends when it
		// is told to forget all.
		assert.NilError(t, v.do("held", talk.VsockDo{}, nil))
		assert.NilError(t, v.do("chat", talk.VsockDo{Port: talk.PortEcho, Bytes: 1 << 16}, nil))
	}
	t.Logf("of %d connections %d were lost", busyKills, lost)
	assert.Check(t, lost > 0)
	assert.NilError(t, v.Say("enough", nil))
	undisturbed(t, counts(ctx, t, g), m)
}
