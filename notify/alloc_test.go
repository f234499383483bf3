package notify

import "testing"

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			host, guest := k.open(t)
			defer closeBoth(host, guest)
			check := func(what string, f func()) {
				if n := testing.AllocsPerRun(1000, f); n != 0 {
					t.Errorf("%s: %v allocations", what, n)
				}
			}
			check("Raise that merges", func() { must(t, host.Raise()) })
			check("Raise and Wait", func() {
				must(t, guest.Raise())
				must(t, host.Wait())
			})
			check("Wake and Wait", func() {
				host.Wake()
				must(t, host.Wait())
			})
			// The same with a Wait that has to sleep.
			echo := start(func() error {
				for {
					if err := guest.Wait(); err != nil {
						return err
					}
					if err := guest.Raise(); err != nil {
						return err
					}
				}
			})
			must(t, host.Wait()) // for the merged ring of the beginning
			check("Raise, and Wait for the answer", func() {
				must(t, host.Raise())
				must(t, host.Wait())
			})
			check("Wake of a sleeping Wait", func() {
				guest.Wake()
				must(t, host.Wait())
			})
			must(t, guest.Close())
			wantErr(t, finished(t, "echo", echo), ErrClosed)
		})
	}
}
