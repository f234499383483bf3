package vhostuser

import (
	"context"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	vu "github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// holder keeps what it takes while it is told to, and gives it back in the opposite order. What it
// took may be done again.
type holder struct {
	holds atomic.Bool
	taken atomic.Int32
}

func (h *holder) Info() virtio.Info {
	return virtio.Info{ID: virtio.DeviceID(0x4000), Queues: []uint16{0}, Redo: true}
}

func (h *holder) ReadConfig([]byte, int) {}

func (h *holder) Serve(ctx context.Context, s *virtio.Session) error {
	q := s.Queue(0)
	var held []*vring.Chain
	for {
		c := new(vring.Chain)
		if err := q.Next(ctx, c); err != nil {
			return err
		}
		held = append(held, c)
		h.taken.Add(1)
		for !h.holds.Load() && len(held) > 0 {
			c := held[len(held)-1]
			held = held[:len(held)-1]
			if _, err := c.Write([]byte("done")); err == nil { // not one of a ring that went
				q.Done(c)
			}
		}
	}
}

// A device that can do again what it has taken loses nothing when its queue is taken from it, by
// whatever message, with INFLIGHT or without.
func TestTakenIsDoneAgain(t *testing.T) {
	for name, disturb := range map[string]func(g *vu.Guest) error{
		"disable": func(g *vu.Guest) error {
			if err := g.Queues[0].Disable(); err != nil {
				return err
			}
			return g.Queues[0].Enable()
		},
		"memory": func(g *vu.Guest) error { return g.FrontEnd.SetMemTable(g.Memory.Regions...) },
		"base": func(g *vu.Guest) error {
			base, err := g.Queues[0].Stop()
			if err != nil {
				return err
			}
			return g.Queues[0].PlaceAt(base)
		},
		"features": func(g *vu.Guest) error {
			g.Features = g.Features.With(virtio.FeatureSet(virtio.IndirectDesc))
			return g.FrontEnd.SetFeatures(g.Features)
		},
	} {
		for _, inflight := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				h := &holder{}
				fe, done := connect(t, newServer(t, h, Options{}))
				g := newGuest(t, vu.Options{Sizes: []uint16{8}, Acked: true, Inflight: inflight})
				assert.NilError(t, g.Attach(fe))
				q := g.Queues[0]
				offer := func() {
					_, err := q.Offer(vu.Writable(g.Memory.Alloc(8, 1), 8))
					assert.NilError(t, err)
					assert.NilError(t, q.ForceKick())
				}
				back := func(n int) {
					for range n {
						e, err := q.Next()
						assert.NilError(t, err)
						assert.Equal(t, e.Len, uint32(4))
					}
				}
				for range 5 {
					offer()
				}
				back(5)
				h.holds.Store(true)
				h.taken.Store(0)
				for range 3 {
					offer()
				}
				until(t, "chain in flight", func() bool { return h.taken.Load() == 3 })
				assert.NilError(t, disturb(g))
				until(t, "chain done again", func() bool { return h.taken.Load() == 6 })
				h.holds.Store(false)
				offer()
				back(4)
				assert.NilError(t, g.Detach())
				assert.NilError(t, ended(t, done))
			})
		}
	}
}
