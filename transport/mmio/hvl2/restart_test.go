package hvl2

import (
	"context"
	"fmt"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// mustResume proves that a driver which was live notices nothing but the wait.
func (r *rig) mustResume(b virtio.Backend) {
	r.t.Helper()
	epoch, used, starts := r.load(OffEpoch), r.load(OffUsedEvents), r.load(OffStarts)
	r.restart(b)
	assert.Equal(r.t, r.load(OffEpoch), epoch, "%s", r.log)
	assert.Equal(r.t, r.load(recState), uint32(0))
	assert.Equal(r.t, r.load(OffStarts), starts+1)
	assert.Assert(r.t, r.load(OffUsedEvents) != used, "the predecessor may have owed one")
}

// mustDemandReset proves that a driver has to attach again, and can.
func (r *rig) mustDemandReset(b virtio.Backend, before uint32) {
	r.t.Helper()
	epoch, config := r.load(OffEpoch), r.load(OffConfigEvents)
	r.restart(b)
	assert.Assert(r.t, r.load(OffEpoch) != epoch)
	assert.Equal(r.t, r.load(recState), uint32(1))
	want := before
	if before != 0 {
		want |= 0x40
		assert.Equal(r.t, r.load(OffConfigEvents), config+1)
	}
	assert.Equal(r.t, r.load(RegStatus), want)
	for _, w := range [][2]uint32{{RegStatus, 15}, {RegQueueSel, 0}, {RegConfig, 1}, {RegQueueReady, 0}, {0xffff, 0}} {
		assert.Equal(r.t, r.write(w[0], w[1]), ResetFirst)
		assert.Equal(r.t, r.load(RegStatus), want)
	}
	r.q(0).quietly()
	r.up(1)
	r.q(0).mustServe()
}

func TestHVL_07_InOrderDeviceGoesOn(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(2)
	for range 3 {
		r.q(0).mustServe()
		r.mustResume(inOrder())
		r.q(1).mustServe()
		assert.Equal(t, r.slot.Stats().Features, r.slot.dev.Offered())
	}
}

// What was taken and not published is done again, and a doorbell that died with the monitor is
// made up for by its first look.
func TestHVL_07_RequestsInFlight(t *testing.T) {
	d := newSlow()
	r := newRig(t, d)
	r.busy(d)
	r.q(0).offer(2, "second") // and no ring
	r.restart(inOrder())
	close(d.goOn) // the dead one's thread: it has other memory
	_, answer := r.q(0).came()
	assert.Equal(t, answer, "x")
	_, answer = r.q(0).came()
	assert.Equal(t, answer, "second")
}

func TestHVL_07_HostStateIsLost(t *testing.T) {
	r := newRig(t, &toy{})
	r.up(1)
	r.q(0).mustServe()
	r.mustDemandReset(&toy{}, 15)
	// Before DRIVER_OK nothing is lost: bring-up goes on where it was.
	r.attach()
	r.prepare(1)
	epoch := r.load(OffEpoch)
	r.restart(&toy{})
	assert.Equal(t, r.load(OffEpoch), epoch)
	r.must(RegStatus, 15)
	r.q(0).mustServe()
}

// A successor that is another device than its predecessor was.
func TestHVL_07_NotTheSameDevice(t *testing.T) {
	for name, b := range map[string]virtio.Backend{
		"features gone": &toy{info: virtio.Info{InOrder: true, Features: virtio.FeatureSet(5)}},
		"smaller queues": &toy{info: virtio.Info{
			InOrder: true, Features: virtio.FeatureSet(1, 5), Queues: []uint16{4, 64},
		}},
		"no subset": picky{toy{info: virtio.Info{InOrder: true, Features: virtio.FeatureSet(1, 5)}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, &toy{info: virtio.Info{InOrder: true, Features: virtio.FeatureSet(1, 5)}})
			r.up(1)
			epoch := r.load(OffEpoch)
			r.restart(b)
			assert.Assert(t, r.load(OffEpoch) != epoch)
			assert.Equal(t, r.load(RegStatus), uint32(0x4f))
			assert.Assert(t, is.Contains(r.log.String(), "has to reset"))
		})
	}
	// More is offered, and what was agreed on still is: that can go on.
	r := newRig(t, &toy{info: virtio.Info{InOrder: true, Features: virtio.FeatureSet(5)}})
	r.up(1)
	r.mustResume(&toy{info: virtio.Info{InOrder: true, Features: virtio.FeatureSet(1, 5)}})
	r.q(0).mustServe()
}

// picky is a toy that likes no feature set but that of a driver without bit 1.
type picky struct{ toy }

func (d picky) Negotiate(f virtio.Features) error {
	if f.Has(1) {
		return fmt.Errorf("bit 1")
	}
	return nil
}

func (d picky) Info() virtio.Info                                  { return d.toy.Info() }
func (d picky) ReadConfig(p []byte, off int)                       {}
func (d picky) Serve(ctx context.Context, s *virtio.Session) error { return d.toy.Serve(ctx, s) }

func TestHVL_07_StoppedDeviceStaysStopped(t *testing.T) {
	for _, status := range []uint32{0x4f, 0x8f, 0xcf} {
		r := newRig(t, inOrder())
		r.up(1)
		if status&0x40 != 0 {
			r.breakRing()
		}
		if status&0x80 != 0 {
			r.must(RegStatus, 0x8f)
		}
		config, epoch := r.load(OffConfigEvents), r.load(OffEpoch)
		r.restart(inOrder())
		assert.Equal(t, r.load(RegStatus), status)
		assert.Equal(t, r.load(OffEpoch), epoch)
		assert.Equal(t, r.load(OffConfigEvents) != config, status&0x40 != 0)
		r.q(0).quietly()
		assert.Equal(t, r.write(RegQueueSel, 0), Broken)
		r.must(RegStatus, 0x80)
		assert.Equal(t, r.load(RegStatus), status|0x80)
		r.up(1)
		r.q(0).mustServe()
	}
}

func TestHVL_07_UnknownPageIsFormatted(t *testing.T) {
	for name, off := range map[string]uint64{
		"magic": RegMagic, "ident": OffIdent, "version": OffPageVersion, "device": RegDeviceID,
		"record": recVersion, "queues": OffQueueCount, "place": OffAddrBase, "epoch": OffEpoch,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, inOrder())
			r.up(1)
			seq, used := r.load(OffTxnSeq), r.load(OffUsedSeen)
			r.kill()
			r.store(off, 0)
			assert.NilError(t, r.slot.Start())
			assert.Equal(t, r.load(OffTxnAck), seq, "left as found")
			assert.Equal(t, r.load(OffTxnSeq), seq)
			assert.Equal(t, r.load(OffUsedEvents), used)
			assert.Equal(t, r.load(RegMagic), uint32(Magic))
			assert.Equal(t, r.load(recState), uint32(1))
			assert.Assert(t, r.load(OffEpoch) != 0)
			r.up(1)
			r.q(0).mustServe()
		})
	}
}

// Boot code that clears the window under a running monitor.
func TestDRV_32_WindowCleared(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(1)
	r.q(0).mustServe()
	all, err := r.region.Span(0, winSize)
	assert.NilError(t, err)
	all.Zero(0, winSize)
	r.vqs = nil
	r.ring()
	assert.Equal(t, r.load(RegMagic), uint32(Magic))
	assert.Equal(t, r.load(RegStatus), uint32(0))
	assert.Equal(t, r.write(RegStatus, 1), ResetFirst)
	r.up(1)
	r.q(0).mustServe()

	// Only the driver's words: the transaction that seems to be outstanding is nobody's.
	for off := uint64(OffTxnSeq); off < recState; off += 4 {
		r.store(off, 0)
	}
	r.up(1)
	r.q(0).mustServe()
}

func TestDRV_31_DriverDiesAnywhere(t *testing.T) {
	r := newRig(t, inOrder())
	r.up(2)
	r.q(0).describe(0, "half") // a descriptor, but no index
	r.q(0).quietly()
	r.store(OffTxnVal, 0) // half a transaction
	r.store(OffTxnCmd, Command(RegStatus, 4))
	r.ring()
	assert.Equal(t, r.load(RegStatus), uint32(15))
	r.q(1).mustServe()
	r.store(OffTxnSeq, r.load(OffTxnSeq)+1) // a whole one, but no ring: the next one drains it
	r.vqs = nil
	r.up(2)
	r.q(0).mustServe()
}

func TestDRV_33_WindowVanishes(t *testing.T) {
	r, truncate := newVanishing(t, inOrder())
	r.up(1)
	r.q(0).mustServe()
	truncate()
	_, err := r.slot.Scan()
	assert.ErrorContains(t, err, "vanished")
	r.slot.NotifyUsed(0) // of a thread that does not know yet
	assert.ErrorContains(t, r.slot.Remove(), "vanished")
	assert.ErrorContains(t, r.slot.Start(), "vanished")
}

// The in-flight words: a device that completes out of order.
func TestHVL_07_OutOfOrderDeviceGoesOn(t *testing.T) {
	held := make(chan uint16, ringSize)
	out := make(chan uint16)
	b := redoing()
	b.serve = func(ctx context.Context, s *virtio.Session) error {
		chains := map[uint16]*vring.Chain{}
		q := s.Queue(0)
		for {
			c := new(vring.Chain)
			next, cancel := context.WithCancel(ctx)
			stop := make(chan struct{})
			go func() {
				defer close(stop)
				select {
				case head := <-out:
					held <- head
					cancel()
				case <-next.Done():
				}
			}()
			err := q.Next(next, c)
			cancel()
			<-stop
			switch {
			case err == nil:
				chains[c.Head()] = c
				held <- c.Head()
			case ctx.Err() != nil:
				return ctx.Err()
			default:
				head := <-held
				if err := echo(chains[head]); err != nil {
					return err
				}
				q.Done(chains[head])
				if err := q.Flush(); err != nil {
					return err
				}
			}
		}
	}
	r := newRig(t, b)
	r.up(1)
	q := r.q(0)
	for _, head := range []uint16{0, 2, 4} {
		q.offer(head, fmt.Sprint("request ", head))
		r.ring()
		assert.Equal(t, <-held, head)
	}
	out <- 2
	head, answer := q.came()
	assert.Equal(t, head, uint16(2))
	assert.Equal(t, answer, "request 2")
	q.offer(6, "request 6") // and nobody looks any more

	r.mustResume(redoing())
	left := map[string]bool{}
	for range 3 {
		_, answer := q.came()
		left[answer] = true
	}
	assert.DeepEqual(t, left, map[string]bool{"request 0": true, "request 4": true, "request 6": true})
	q.mustServe()
}
