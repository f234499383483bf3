package rng

import (
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/vring/vringtest"
)

// Each step is a request and what it gets when, on the clock of the bubble.
func TestRate(t *testing.T) {
	type step struct {
		idle time.Duration // before the request
		ask  uint64
		get  uint32
		took time.Duration
	}
	for _, tt := range []struct {
		name  string
		rate  uint64
		steps []step
	}{
		{"a second's worth at once, then the rate", 1000, []step{
			{0, 1000, 1000, 0},
			{0, 100, 100, 100 * time.Millisecond},
			{0, 500, 500, 500 * time.Millisecond},
		}},
		{"large requests get a second's worth", 1000, []step{
			{0, 5000, 1000, 0},
			{0, 5000, 1000, time.Second},
			{0, 5000, 1000, time.Second},
		}},
		{"idling saves a second's worth and no more", 1000, []step{
			{0, 1000, 1000, 0},
			{time.Hour, 1000, 1000, 0},
			{0, 1, 1, time.Millisecond},
			{200 * time.Millisecond, 300, 300, 100 * time.Millisecond},
		}},
		{"a byte a second", 1, []step{
			{0, 16, 1, 0},
			{0, 16, 1, time.Second},
		}},
		{"more than a request can carry", 1 << 20, []step{
			{0, 1 << 17, MaxRequest, 0},
			{0, 1 << 17, MaxRequest, 0},
		}},
		{"as good as none", 1<<64 - 1, []step{
			{0, 1 << 17, MaxRequest, 0},
			{0, 1 << 17, MaxRequest, 0},
		}},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			l := newLink(t, New(Options{Rate: tt.rate}), 1<<20)
			for i, s := range tt.steps {
				time.Sleep(s.idle) // of the bubble: no time passes outside
				before := time.Now()
				l.writable(s.ask)
				assert.Equal(t, l.used().Len, s.get, "step %d", i)
				assert.Equal(t, time.Since(before), s.took, "step %d", i)
			}
		})
	}
}

// A reset does not wait for the rate, and does not get around it either.
func TestResetWhileRateLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t, New(Options{Rate: 1000}), 1<<20)
		begin := time.Now()
		l.writable(1000)
		assert.Equal(t, l.used().Len, uint32(1000))
		l.writable(1000)
		synctest.Wait()
		l.stop()
		l.start()
		l.writable(100)
		synctest.Wait()
		l.stop()
		assert.Equal(t, time.Since(begin), time.Duration(0))
		l.start()
		l.writable(100)
		assert.Equal(t, l.used().Len, uint32(100))
		assert.Equal(t, time.Since(begin), 100*time.Millisecond)
	})
}

// Completions do not wait for the rate.
func TestFlushBeforeRateLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t, New(Options{Rate: 1}), 1<<20)
		begin := time.Now()
		l.ring.Chain(0, vringtest.Writable(l.mem.Alloc(1, 1), 1))
		l.ring.Chain(1, vringtest.Writable(l.mem.Alloc(1, 1), 1))
		l.ring.Offer(0, 1)
		l.dev.Kick()
		l.used()
		assert.Equal(t, time.Since(begin), time.Duration(0))
		l.used()
		assert.Equal(t, time.Since(begin), time.Second)
	})
}
