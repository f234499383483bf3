package shmem

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// storeBuffering is the litmus test that gave the fence its name: two sides each store to a
// word of their own, then look at the other's. It returns how often neither saw the other's
// store, which is how a sleeper and its waker miss each other. Both go through an array of word
// pairs, and must meet only before they start over; for a pair they wait just long enough to
// keep abreast while both run, since a rendezvous costs a time slice where CPUs are short.
func storeBuffering(t *testing.T, rounds int, fenced bool) (missed int) {
	if runtime.NumCPU() < 2 || runtime.GOMAXPROCS(0) < 2 {
		cannotRun(t, "store buffering takes two CPUs")
	}
	const (
		line  = 64 // bytes: every word has a cache line of its own
		pairs = 256
	)
	s := mustMemfd(t, 2*pairs*line)
	var (
		arrived [2]struct {
			laps atomic.Uint32
			_    [2 * line]byte
		}
		saw [2][]bool
		wg  sync.WaitGroup
	)
	for me := range uint64(2) {
		saw[me] = make([]bool, rounds)
		wg.Go(func() {
			var fence Fence
			for lap := range uint32(rounds / pairs) {
				arrived[me].laps.Store(lap + 1)
				for arrived[1-me].laps.Load() <= lap {
					runtime.Gosched()
				}
				value := uint16(lap + 1) // of this lap, unlike the lap before
				mine, theirs := me*line, (1-me)*line
				for i := range pairs {
					s.Store16Plain(mine, value)
					if fenced {
						fence.StoreLoad()
					}
					saw[me][int(lap)*pairs+i] = s.Load16(theirs) == value
					for spins := 0; spins < 200 && s.Load16(theirs) != value; spins++ {
					}
					mine, theirs = mine+2*line, theirs+2*line
				}
			}
		})
	}
	wg.Wait()
	for i := range rounds / pairs * pairs {
		if !saw[0][i] && !saw[1][i] {
			missed++
		}
	}
	return missed
}

func TestFence_StoreBuffering(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector replaces the very accesses that this is about")
	}
	const rounds = 1 << 20
	t.Run("fence", func(t *testing.T) {
		if missed := storeBuffering(t, rounds, true); missed != 0 {
			t.Errorf("in %d of %d rounds neither side saw the other's store", missed, rounds)
		}
	})
	// That the test above can fail depends on the machine, so this one cannot.
	t.Run("none", func(t *testing.T) {
		missed := storeBuffering(t, rounds, false)
		t.Logf("in %d of %d rounds neither side saw the other's store", missed, rounds)
		if missed == 0 {
			t.Skip("this machine does not show that the fence is needed")
		}
	})
}
