package notify

import (
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkPingPong is a ring there and a ring back between two goroutines that
// sleep in between.
func BenchmarkPingPong(b *testing.B) {
	for _, k := range kinds {
		if k.name == "poll" {
			continue // has no rings: BenchmarkPingPongPoll
		}
		b.Run(k.name, func(b *testing.B) {
			host, guest := k.open(b)
			defer closeBoth(host, guest)
			go func() {
				for guest.Wait() == nil && guest.Raise() == nil {
				}
			}()
			b.ReportAllocs()
			for b.Loop() {
				must(b, host.Raise())
				must(b, host.Wait())
			}
		})
	}
}

// BenchmarkPingPongPoll is a word there and a word back between two goroutines
// that poll for it: while they are busy, and when each look finds them asleep.
func BenchmarkPingPongPoll(b *testing.B) {
	for _, c := range []struct {
		name string
		min  time.Duration
		busy bool
	}{{"spinning", time.Millisecond, true}, {"asleep-50us", 50 * time.Microsecond, false}} {
		b.Run(c.name, func(b *testing.B) {
			host, guest := newPoll(b, c.min, c.min), newPoll(b, c.min, c.min)
			var ping, pong atomic.Int64
			wait := func(p *poll, word *atomic.Int64, old int64) error {
				for word.Load() == old {
					if err := p.Wait(); err != nil {
						return err
					}
				}
				if c.busy {
					p.Busy()
				}
				return nil
			}
			go func() {
				for n := int64(0); wait(guest, &ping, n) == nil; n++ {
					pong.Store(n + 1)
				}
			}()
			b.ReportAllocs()
			n := int64(0)
			for b.Loop() {
				ping.Store(n + 1)
				must(b, wait(host, &pong, n))
				n++
			}
			b.StopTimer()
			must(b, guest.Close())
		})
	}
}

// BenchmarkRaise rings a peer that does not look, so that the rings merge.
func BenchmarkRaise(b *testing.B) {
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			host, guest := k.open(b)
			defer closeBoth(host, guest)
			b.ReportAllocs()
			for b.Loop() {
				must(b, host.Raise())
			}
		})
	}
}

// BenchmarkWake wakes a line and then waits on it.
func BenchmarkWake(b *testing.B) {
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			host, guest := k.open(b)
			defer closeBoth(host, guest)
			b.ReportAllocs()
			for b.Loop() {
				host.Wake()
				must(b, host.Wait())
			}
		})
	}
}
