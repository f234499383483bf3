package driver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// killAddr is the driver's address of the window.
const killAddr = 0x37000000

// The types under which the two devices are found.
const (
	killInOrder = virtio.IDEntropy
	killAnyTurn = virtio.IDConsole
)

// killMonitor serves the window until it is killed.
func killMonitor(window *shmem.Region, line notify.Line, counts counters) {
	counts.add(countMonitors)
	// Now and then a monitor cannot go on where its predecessor was.
	amnesia := rand.IntN(5) == 0
	bus, err := mmio.NewBus(mmio.Options{
		Region: window, Addr: killAddr, Line: dying{line, func() int { return 3000 }}, Layout: mmio.Modern,
		Offer: virtio.FeatureSet(virtio.EventIdx, virtio.IndirectDesc, virtio.RingReset), Log: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		err = bus.Add("in order", &killBackend{id: killInOrder, inOrder: true, amnesia: amnesia}, 0)
	}
	if err == nil {
		err = bus.Add("any turn", &killBackend{id: killAnyTurn, amnesia: amnesia}, 0)
	}
	if err == nil {
		err = bus.Run(context.Background())
	}
	violation("monitor: %v", err)
}

// killBackend answers each request with what killAnswer makes of its question, and has a
// configuration of two words that belong together.
type killBackend struct {
	id      virtio.DeviceID
	inOrder bool // or in any turn
	amnesia bool // cannot go on where a predecessor was

	mu     sync.Mutex
	config uint32
}

func (b *killBackend) Info() virtio.Info {
	return virtio.Info{
		ID: b.id, Queues: []uint16{32}, ConfigLen: 8,
		InOrder: b.inOrder && !b.amnesia, Redo: !b.inOrder && !b.amnesia,
	}
}

func (b *killBackend) ReadConfig(p []byte, off int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.config == 0 {
		b.config = rand.Uint32()
	}
	var all [8]byte
	binary.LittleEndian.PutUint32(all[:], b.config)
	binary.LittleEndian.PutUint32(all[4:], ^b.config)
	copy(p, all[off:])
}

func (b *killBackend) Serve(ctx context.Context, s *virtio.Session) error {
	var changes sync.WaitGroup
	defer changes.Wait()
	changes.Go(func() {
		// Each change has the monitor look at everything, which would hide a look it owes.
		period := time.Millisecond << rand.IntN(7)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(period):
			}
			b.mu.Lock()
			b.config = rand.Uint32()
			b.mu.Unlock()
			s.ConfigChanged()
		}
	})
	if b.inOrder {
		return s.Queue(0).Handle(ctx, killServe)
	}
	return b.anyTurn(ctx, s.Queue(0))
}

// anyTurn holds a number of requests and does a random one of them next.
func (b *killBackend) anyTurn(ctx context.Context, q *virtio.Queue) error {
	var held, spare []*vring.Chain
	for {
		if len(held) == 0 || len(held) < 8 && rand.IntN(3) > 0 {
			if len(spare) == 0 {
				spare = append(spare, new(vring.Chain))
			}
			c := spare[len(spare)-1]
			brief, cancel := ctx, context.CancelFunc(func() {})
			if len(held) > 0 {
				brief, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(300))*time.Microsecond)
			}
			err := q.Next(brief, c)
			cancel()
			switch {
			case err == nil:
				spare = spare[:len(spare)-1]
				held = append(held, c)
				continue
			case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
				return err
			}
		}
		i := rand.IntN(len(held))
		c := held[i]
		held[i] = held[len(held)-1]
		held = held[:len(held)-1]
		if err := killServe(c); err != nil {
			q.Refuse(c, err)
		} else {
			q.Done(c)
		}
		spare = append(spare, c)
		if rand.IntN(2) == 0 {
			if err := q.Flush(); err != nil {
				return err
			}
		}
	}
}

// killServe answers one request, slowly at times, in two pieces: an access to memory that was
// given back meanwhile would show.
func killServe(c *vring.Chain) error {
	var question [8]byte
	if _, err := io.ReadFull(c, question[:]); err != nil {
		return err
	}
	answer := make([]byte, min(c.Writable(), uint64(killAnswerLen(question))))
	killAnswer(question, answer)
	half := len(answer) / 2
	if _, err := c.Write(answer[:half]); err != nil {
		return err
	}
	if rand.IntN(32) == 0 {
		time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
	}
	_, err := c.Write(answer[half:])
	return err
}

func killAnswerLen(question [8]byte) int { return 1 + int(question[0])*8 }

func killAnswer(question [8]byte, p []byte) {
	v := binary.LittleEndian.Uint64(question[:])
	for i := range p {
		v = v*6364136223846793005 + 1442695040888963407
		p[i] = byte(v >> 56)
	}
}
