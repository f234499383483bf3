package vhostuser_test

import (
	"fmt"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
	"github.com/hypervisorless/virtio/virtio"
)

// A front-end may replace the descriptor of its calls at any time (QEMU does so whenever the
// guest masks an interrupt): no call is lost, though a device calls just then.
func TestVhostUser_CallReplacedLive(t *testing.T) {
	g := newGuest(t, vhostusertest.Options{Sizes: []uint16{8}})
	assert.NilError(t, g.Dial(listen(t, &recorder{})))
	q := g.Queues[0]
	addr := g.Memory.Alloc(8, 1)
	for range 20_000 {
		_, err := q.Offer(vhostusertest.Readable(addr, 8))
		assert.NilError(t, err)
		assert.NilError(t, q.Kick())
		assert.NilError(t, q.RenewCall())
		_, err = q.Next()
		assert.NilError(t, err)
	}
}

// load keeps a queue busy in a goroutine of its own until the test's end.
type load struct {
	*requests
	stop, done chan struct{}
	progress   chan struct{} // a token at each few answers
}

func startLoad(t *testing.T, w *requests) *load {
	l := &load{w, make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)}
	go func() {
		defer close(l.done)
		for goal := uint64(10); ; {
			select {
			case <-l.stop:
				return
			default:
			}
			l.step(t, true)
			if l.answers >= goal {
				goal = l.answers + 10
				select {
				case l.progress <- struct{}{}:
				default:
				}
			}
			if t.Failed() {
				return
			}
		}
	}()
	return l
}

// finish stops giving the device new requests; none may be left.
func (l *load) finish(t *testing.T) {
	t.Helper()
	close(l.stop)
	await(t, l.done, "end of the load")
	if !t.Failed() {
		l.some(t, 1)
	}
}

// Queue 1 is enabled when queue 0 is served already, is disabled under load and enabled again, or
// stopped and started with what the back-end said was its base. Queue 0 goes on all the time;
// nothing moves in a disabled queue; each of its requests comes back once.
func TestVhostUser_QueueComesAndGoes(t *testing.T) {
	for _, device := range []struct {
		name     string
		shuffler *shuffler
		inflight bool
	}{
		{"in order", &shuffler{queues: 2, depth: 1, inOrder: true}, false},
		{"any order", &shuffler{queues: 2, depth: 12}, false},
		{"any order, inflight", &shuffler{queues: 2, depth: 12}, true},
	} {
		for _, way := range []string{"disable", "stop"} {
			if t.Failed() {
				return // the others would hang, too
			}
			t.Run(fmt.Sprintf("%s/%s", device.name, way), func(t *testing.T) {
				g := newGuest(t, vhostusertest.Options{Sizes: []uint16{32, 32}, Regions: memories[1], EventIdx: true, Inflight: device.inflight, Acked: true})
				assert.NilError(t, g.Negotiate(dial(t, listen(t, device.shuffler))))
				assert.NilError(t, g.Share())
				q := g.Queues[1]
				assert.NilError(t, g.Queues[0].Place())
				assert.NilError(t, g.Queues[0].Enable())
				busy := startLoad(t, turned(g, 0))
				defer busy.finish(t)
				await(t, busy.progress, "answer on queue 0")

				w := turned(g, 1)
				assert.NilError(t, q.Place())
				assert.NilError(t, q.Enable())
				for range 40 {
					assert.NilError(t, q.ForceKick())
					goal := w.answers + 30
					for end := time.Now().Add(patience); w.answers < goal; {
						w.step(t, true)
						assert.Assert(t, time.Now().Before(end), "queue 1 does not serve, %d in flight", len(w.flying))
					}
					base := pause(t, way, q)
					w.step(t, true) // what comes back now came back before
					used := q.UsedIdx()
					for range 3 {
						await(t, busy.progress, "answer on queue 0 while queue 1 is disabled")
					}
					assert.Equal(t, q.UsedIdx(), used, "a disabled queue moves")
					if way == "stop" {
						if device.shuffler.inOrder {
							assert.Equal(t, base, used)
						}
						assert.NilError(t, q.PlaceAt(base))
					}
					assert.NilError(t, q.Enable())
				}
				assert.NilError(t, q.ForceKick())
				w.some(t, 1)
			})
		}
	}
}

func pause(t *testing.T, way string, q *vhostusertest.Queue) (base uint16) {
	t.Helper()
	assert.NilError(t, q.Disable())
	if way == "disable" {
		return 0
	}
	base, err := q.Stop()
	assert.NilError(t, err)
	return base
}

// RESET_DEVICE, or a status of 0, makes the device a new one; the connection stays.
func TestVhostUser_ResetOnTheConnection(t *testing.T) {
	for _, status := range []bool{true, false} {
		t.Run(fmt.Sprintf("status %v", status), func(t *testing.T) {
			g := newGuest(t, vhostusertest.Options{Sizes: []uint16{16, 16}, Status: status, Acked: true})
			assert.NilError(t, g.Dial(listen(t, &shuffler{queues: 2, depth: 6})))
			for i := range 30 {
				w := turned(g, 1)
				w.some(t, 20)
				w.step(t, true)
				if status && i%2 == 0 {
					assert.NilError(t, g.FrontEnd.SetStatus(0))
					for end := time.Now().Add(patience); ; {
						s, err := g.FrontEnd.GetStatus()
						assert.NilError(t, err)
						if s == 0 {
							break
						}
						assert.Assert(t, time.Now().Before(end), "status is %#x", s)
					}
				} else {
					assert.NilError(t, g.FrontEnd.ResetDevice())
				}
				used := g.Queues[1].UsedIdx()
				w.step(t, true)
				assert.NilError(t, g.Queues[1].ForceKick())
				_, err := g.FrontEnd.GetFeatures() // a round trip
				assert.NilError(t, err)
				assert.Equal(t, g.Queues[1].UsedIdx(), used, "the device goes on after its reset")
				assert.NilError(t, g.Reset())
				assert.NilError(t, g.Accept())
				assert.NilError(t, g.Share())
				for _, q := range g.Queues {
					assert.NilError(t, q.Place())
					assert.NilError(t, q.Enable())
				}
				assert.NilError(t, g.Ready())
			}
		})
	}
}

// Memory may come in pieces, the last one after the device was started.
func TestVhostUser_MemoryInPieces(t *testing.T) {
	g := newGuest(t, vhostusertest.Options{Sizes: []uint16{4}, Regions: memories[2], Acked: true})
	assert.NilError(t, g.Negotiate(dial(t, listen(t, &recorder{}))))
	if g.Protocol&vhostusertest.MemSlots == 0 {
		t.Skip("CONFIGURE_MEM_SLOTS is not offered")
	}
	slots, err := g.FrontEnd.GetMaxMemSlots()
	assert.NilError(t, err)
	assert.Assert(t, slots >= 3)
	q := g.Queues[0]
	for _, r := range g.Memory.Regions {
		assert.NilError(t, g.FrontEnd.AddMemReg(r))
	}
	assert.NilError(t, q.Place())
	assert.NilError(t, q.Enable())
	more(t, g, 5)

	late, err := vhostusertest.NewMemory(vhostusertest.Region{Guest: 0x9_0000_0000, User: 0x9_0000_0000, Size: 1 << 16})
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, late.Close()) })
	for range 3 {
		assert.NilError(t, g.FrontEnd.AddMemReg(late.Regions[0]))
		_, err = q.Do(vhostusertest.Readable(late.Regions[0].Guest, 8))
		assert.NilError(t, err)
		assert.NilError(t, g.FrontEnd.RemMemReg(late.Regions[0]))
		more(t, g, 5)
	}
}

// The driver is told when the device breaks, and gets it back by a reset.
func TestVhostUser_BrokenRingSaysSo(t *testing.T) {
	g := newGuest(t, vhostusertest.Options{Sizes: []uint16{8}, Status: true, Acked: true})
	assert.NilError(t, g.Dial(listen(t, &recorder{})))
	more(t, g, 3)
	q := g.Queues[0]
	g.Memory.Span(q.Avail, q.AvailBytes()).Store16Plain(2, q.Offered()+100)
	assert.NilError(t, q.ForceKick())
	for end := time.Now().Add(patience); ; {
		s, err := g.FrontEnd.GetStatus()
		assert.NilError(t, err)
		if s&virtio.NeedsReset != 0 {
			break
		}
		assert.Assert(t, time.Now().Before(end), "status is %#x", s)
	}
	assert.NilError(t, g.FrontEnd.SetStatus(0))
	assert.NilError(t, g.Reset())
	assert.NilError(t, g.Accept())
	assert.NilError(t, g.Share())
	assert.NilError(t, q.Place())
	assert.NilError(t, q.Enable())
	assert.NilError(t, g.Ready())
	more(t, g, 3)
}

// A front-end may answer an in-band call late, and speak of other things before: the back-end
// answers those meanwhile, and the other queue's calls are only late.
func TestVhostUser_CallAnsweredLate(t *testing.T) {
	g := newGuest(t, vhostusertest.Options{Sizes: []uint16{16, 16}, Notify: vhostusertest.InBand})
	held, free := make(chan struct{}, 1), make(chan struct{})
	g.Hear = func(vhostusertest.Request, int) {
		select {
		case held <- struct{}{}:
			<-free
		default:
		}
	}
	assert.NilError(t, g.Negotiate(dial(t, listen(t, &shuffler{queues: 2, depth: 1}))))
	assert.NilError(t, g.Share())
	for _, q := range g.Queues {
		assert.NilError(t, q.Place())
		assert.NilError(t, q.Enable())
	}
	both := pair{turned(g, 0), turned(g, 1)}
	both.step(t, true)
	await(t, held, "call")
	held <- struct{}{} // hold no other
	for range 20 {
		both.step(t, true) // kicks are answered
		_, err := g.FrontEnd.GetFeatures()
		assert.NilError(t, err)
	}
	_, err := g.Queues[1].Stop()
	assert.NilError(t, err)
	close(free)
	both[0].some(t, 30)
	q := g.Queues[0]
	addr := g.Memory.Alloc(16, 1)
	for range 30 {
		for q.Wait(0) { // what was called before
		}
		q.Arm()
		_, err := q.Offer(vhostusertest.Readable(addr, 8), vhostusertest.Writable(addr+8, 8))
		assert.NilError(t, err)
		assert.NilError(t, q.Kick())
		assert.Assert(t, q.Wait(patience), "no call")
		for q.Flying() > 0 {
			_, err := q.Next()
			assert.NilError(t, err)
		}
	}
}
