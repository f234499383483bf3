package rng

import (
	"context"
	"time"

	"github.com/hypervisorless/virtio/virtio"
)

// bucket is a token bucket that holds a second's worth. It is kept as the moment up to which
// its bytes are spent: one second ago or earlier is a full bucket, now is an empty one.
type bucket struct {
	rate  uint64 // bytes per second
	spent time.Time
	timer *time.Timer
}

// cost is how long the bucket takes to regain n bytes, n at most MaxRequest.
func (b *bucket) cost(n uint64) time.Duration {
	return time.Duration(n * uint64(time.Second) / b.rate)
}

// wait returns how many of n bytes may be spent, when they may be.
func (b *bucket) wait(ctx context.Context, q *virtio.Queue, n int) (int, error) {
	n = int(min(uint64(n), b.rate))
	now := time.Now()
	if full := now.Add(-time.Second); b.spent.Before(full) {
		b.spent = full
	}
	early := b.spent.Add(b.cost(uint64(n))).Sub(now)
	if early <= 0 {
		return n, nil
	}
	q.Flush() // an error comes again
	if b.timer == nil {
		b.timer = time.NewTimer(early)
	} else {
		b.timer.Reset(early)
	}
	select {
	case <-b.timer.C:
		return n, nil
	case <-ctx.Done():
		b.timer.Stop()
		return 0, ctx.Err()
	}
}

// spend takes n bytes out of the bucket, after a wait for as many.
func (b *bucket) spend(n uint64) {
	if b.rate > 0 {
		b.spent = b.spent.Add(b.cost(n))
	}
}
