package notify

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

// wakeRounds wakes l once a round and goes on when the waiting goroutine has
// seen what it was woken for, so that a lost wake-up stops it. In each round
// everything of beside happens once, somewhere around the wake-up: no more, for
// whatever comes later would stand in for one that was lost.
func wakeRounds(t *testing.T, l Line, rounds int64, beside ...func() error) {
	t.Helper()
	var asked, seen atomic.Int64
	told := make(chan struct{}, 1)
	waiter := start(func() error {
		for seen.Load() < rounds {
			if err := l.Wait(); err != nil {
				return err
			}
			if n := asked.Load(); n != seen.Load() {
				seen.Store(n)
				told <- struct{}{}
			}
		}
		return nil
	})
	must(t, withinLong(t, "waiting to be seen", func() error {
		for n := int64(1); n <= rounds; n++ {
			errs := make(chan error, len(beside))
			for _, f := range beside {
				go func() {
					dawdle()
					errs <- f()
				}()
			}
			dawdle()
			asked.Store(n)
			l.Wake()
			<-told
			for range beside {
				if err := <-errs; err != nil {
					return err
				}
			}
		}
		return nil
	}))
	must(t, finished(t, "waiter", waiter))
}

// dawdle passes a random time of some microseconds at most.
func dawdle() {
	var word atomic.Int32
	for range rand.IntN(1000) {
		word.Add(1)
	}
}
