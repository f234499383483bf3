package notify

import (
	"sync"
	"sync/atomic"
	"testing"
)

// cases hold for every kind, in both directions.
var cases = []struct {
	name string
	run  func(t *testing.T, a, b Line)
}{
	{"RingBeforeWait", func(t *testing.T, a, b Line) {
		must(t, b.Raise())
		must(t, within(t, "Wait", a.Wait))
	}},
	{"RingDuringWait", func(t *testing.T, a, b Line) {
		done := waitParked(t, a)
		must(t, b.Raise())
		must(t, finished(t, "Wait", done))
	}},
	{"RingAfterReturn", func(t *testing.T, a, b Line) {
		must(t, b.Raise())
		must(t, within(t, "Wait", a.Wait))
		must(t, b.Raise())
		must(t, within(t, "second Wait", a.Wait))
	}},
	{"RingsMerge", func(t *testing.T, a, b Line) {
		for range 10_000 { // far more than any buffer holds
			must(t, b.Raise())
		}
		must(t, within(t, "Wait", a.Wait))
		done := waitParked(t, a) // all of them were consumed
		must(t, b.Raise())
		must(t, finished(t, "second Wait", done))
	}},
	{"WakeBeforeWait", func(t *testing.T, a, _ Line) {
		a.Wake()
		a.Wake()
		must(t, within(t, "Wait", a.Wait))
		done := waitParked(t, a) // they merged
		a.Wake()
		must(t, finished(t, "second Wait", done))
	}},
	{"WakeDuringWait", func(t *testing.T, a, b Line) {
		for range 3 {
			done := waitParked(t, a)
			a.Wake()
			must(t, finished(t, "Wait", done))
		}
		must(t, b.Raise())
		must(t, within(t, "Wait for a ring after wake-ups", a.Wait))
	}},
	{"WakeIsNotARing", func(t *testing.T, a, b Line) {
		done := waitParked(t, b)
		a.Wake()
		must(t, within(t, "Wait", a.Wait))
		select {
		case err := <-done:
			t.Fatalf("a Wake of one side ended the Wait of the other: %v", err)
		default:
		}
		must(t, a.Raise())
		must(t, finished(t, "Wait", done))
	}},
	{"CloseDuringWait", func(t *testing.T, a, _ Line) {
		done := waitParked(t, a)
		must(t, a.Close())
		wantErr(t, finished(t, "Wait", done), ErrClosed)
	}},
	{"Closed", func(t *testing.T, a, b Line) {
		must(t, b.Raise())
		a.Wake()
		must(t, a.Close())
		for range 2 {
			wantErr(t, within(t, "Wait", a.Wait), ErrClosed)
			wantErr(t, a.Raise(), ErrClosed)
			a.Wake()
			must(t, a.Close())
		}
		must(t, b.Raise()) // nobody there is no error
	}},
	{"CloseBesideEverything", func(t *testing.T, a, b Line) {
		var all sync.WaitGroup
		for _, l := range []Line{a, b} {
			for range 2 {
				all.Go(func() {
					for l.Raise() == nil {
						l.Wake()
					}
				})
			}
			all.Go(func() {
				for l.Wait() == nil {
				}
			})
		}
		must(t, within(t, "a user of a closed line", func() error {
			for _, l := range []Line{a, b} {
				for range 2 {
					all.Go(func() { _ = l.Close() })
				}
			}
			all.Wait()
			return nil
		}))
	}},
	{"ConcurrentRaise", func(t *testing.T, a, b Line) {
		const raisers, rings = 4, 2000
		var work atomic.Int64
		for range raisers {
			go func() {
				for range rings {
					work.Add(1)
					if err := b.Raise(); err != nil {
						t.Error(err)
					}
				}
			}()
		}
		returns := waitFor(t, a, &work, raisers*rings)
		if returns > raisers*rings {
			t.Errorf("Wait returned %d times for %d rings", returns, raisers*rings)
		}
	}},
	{"NoLoss", func(t *testing.T, a, b Line) {
		const rounds = 100_000
		var ping, pong atomic.Int64
		echo := start(func() error {
			for seen := int64(0); seen < rounds; {
				if err := b.Wait(); err != nil {
					return err
				}
				if now := ping.Load(); now != seen {
					seen = now
					pong.Store(now)
					if err := b.Raise(); err != nil {
						return err
					}
				}
			}
			return nil
		})
		returns := 0
		must(t, withinLong(t, "ping-pong", func() error {
			for i := int64(1); i <= rounds; i++ {
				ping.Store(i)
				if err := a.Raise(); err != nil {
					return err
				}
				for pong.Load() != i {
					if err := a.Wait(); err != nil {
						return err
					}
					returns++
				}
			}
			return <-echo
		}))
		if returns > rounds {
			t.Errorf("Wait returned %d times for %d rings", returns, rounds)
		}
	}},
	{"NoWakeLost", func(t *testing.T, a, b Line) {
		wakeRounds(t, a, 5000)
	}},
	{"NoWakeLostBesideWakes", func(t *testing.T, a, b Line) {
		wakeRounds(t, a, 5000, func() error { a.Wake(); return nil }, func() error { a.Wake(); return nil })
	}},
	{"NoWakeLostBesideRings", func(t *testing.T, a, b Line) {
		wakeRounds(t, a, 5000, b.Raise, func() error { a.Wake(); return nil })
	}},
}

// waitFor waits until work has reached total and returns how often Wait returned.
func waitFor(t *testing.T, l Line, work *atomic.Int64, total int64) int64 {
	t.Helper()
	returns := int64(0)
	must(t, withinLong(t, "Wait for all the work", func() error {
		for work.Load() < total {
			if err := l.Wait(); err != nil {
				return err
			}
			returns++
		}
		return nil
	}))
	return returns
}

func TestConformance(t *testing.T) {
	for _, k := range kinds {
		for _, c := range cases {
			t.Run(k.name+"/"+c.name+"/host", func(t *testing.T) {
				host, guest := k.open(t)
				defer closeBoth(host, guest)
				c.run(t, host, guest)
			})
			t.Run(k.name+"/"+c.name+"/guest", func(t *testing.T) {
				host, guest := k.open(t)
				defer closeBoth(host, guest)
				c.run(t, guest, host)
			})
		}
	}
}

func closeBoth(host, guest Line) {
	_ = guest.Close()
	_ = host.Close()
}
