package virtiotest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/hypervisorless/virtio/vring/vringtest"
)

// resetting are the trials of a driver that resets the device in the middle of things (2.4).
func resetting() []trial {
	return []trial{
		{"reset in the middle", Options{}, (*bench).interrupt},
		{"reset storm", Options{}, (*bench).storm},
	}
}

// past is what a session left behind when its reset was complete.
type past struct {
	memory *vringtest.Snapshot
	told   uint64 // notifications, all of them
}

func (b *bench) told() (n uint64) {
	for i := range b.queues {
		n += b.UsedNotifications(i)
	}
	return n + b.ConfigNotifications()
}

// leave resets the device and takes note of what is to stay as it is from then on.
func (b *bench) leave() (past, error) {
	err := b.Reset()
	return past{b.Memory.Snapshot(), b.told()}, err
}

// unmoved compares the memory with that of a session that is over.
func (p past) unmoved() error {
	if p.memory == nil {
		return nil
	}
	if err := p.memory.Changed(); err != nil {
		return fmt.Errorf("memory of a session that is over: %w", err)
	}
	return nil
}

// silent compares the notifications. Ask before the next session.
func (b *bench) silent(p past) error {
	if p.memory != nil && p.told != b.told() {
		return errors.New("a notification after the reset was complete")
	}
	return nil
}

// linger gives the device more or less of a chance to get into the middle of something. Nothing
// depends on how far it gets.
func (b *bench) linger(k int) {
	switch k {
	case 0:
	case 1:
		for range 20 {
			runtime.Gosched()
		}
	default:
		select {
		case <-b.changed:
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// interrupt resets the device with each request of the script under way.
func (b *bench) interrupt() error {
	for i := range b.Script {
		for k := range 3 {
			if err := b.recovers(); err != nil {
				return err
			}
			if err := b.Reset(); err != nil {
				return err
			}
			if err := b.up(); err != nil {
				return err
			}
			if _, err := b.reach(i); err != nil {
				return err
			}
			if _, err := b.send(nil, i, &b.Script[i], plain); err != nil {
				return err
			}
			b.linger(k)
			now, err := b.leave()
			if err != nil {
				return fmt.Errorf("request %d under way: %w", i, err)
			}
			// The next session has memory of its own.
			if err := errors.Join(b.silent(now), b.up(), b.Reset(), now.unmoved()); err != nil {
				return fmt.Errorf("request %d was under way: %w", i, err)
			}
		}
	}
	return b.recovers()
}

// storm resets the device at any moment of requests that nobody waits for.
func (b *bench) storm() error {
	rnd := rand.New(rand.NewPCG(1, 1))
	var before past
	for range 100 {
		if err := b.silent(before); err != nil {
			return err
		}
		if err := b.up(); err != nil {
			return err
		}
		for i := range rnd.IntN(2 * len(b.Script)) {
			req := b.Script[i%len(b.Script)]
			req.Stimulus = nil // its host would have to be told of the reset
			if b.queues[req.Queue].Free() < 2 {
				continue
			}
			if _, err := b.send(nil, i, &req, plain); err != nil {
				return err
			}
		}
		b.linger(rnd.IntN(2))
		now, err := b.leave()
		if err != nil {
			return err
		}
		if err := before.unmoved(); err != nil {
			return err
		}
		before = now
	}
	if err := b.silent(before); err != nil {
		return err
	}
	return b.recovers()
}
