package virtiotest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hypervisorless/virtio/virtio"
)

// Subject is a device to be tried, with all that the kit has to know of it.
type Subject struct {
	Backend virtio.Backend
	// Script is what a good driver asks of the device, in order, from the start of a session:
	// one request of every kind that matters, small ones. The kit plays it many times, in many
	// shapes, and attacks in the place of each queue's first request.
	Script []Request
	// Features are those of the device that the Script needs; the zero value means all that are
	// offered.
	Features virtio.Features
	// Needs tells for a feature which others it makes no sense without.
	Needs map[virtio.Feature][]virtio.Feature
	// Settle, if not nil, is called after the kit misbehaved, while the device is reset. It
	// throws away what that left behind on the host's side, output above all.
	Settle func()
	// Patience is how long the kit waits for the device before it calls it stuck; 0 means 10 s.
	Patience time.Duration
}

// Request is one request of a good driver.
type Request struct {
	Queue    int
	Readable []byte // what the device is to read
	Writable int    // how many bytes it may write
	// Stimulus, if not nil, is called once the request is available: what happens on the host's
	// side to make the device answer it. A request that takes one of a limited number of answers,
	// whatever gave rise to them, has one too, if an empty one.
	Stimulus func() error
	// Check, if not nil, judges the answer, the bytes that the device says it wrote.
	Check func(reply []byte) error
	// Deferred marks a request that is only answered because of later ones: its answer is
	// awaited at the end of the Script.
	Deferred bool
}

// TestBackend tries a device with a good driver and with a hostile one. fresh makes a new device
// each time it is called, and a host's side that takes everything at once, fails nothing and
// hoards nothing; what it needs to clean up, it leaves to t.Cleanup. The subtests are named after
// what they try, and -run selects them. They count goroutines: nothing else should run beside
// them.
func TestBackend(t *testing.T, fresh func(t testing.TB) Subject) {
	for _, tr := range trials(fresh(t)) {
		t.Run(tr.name, func(t *testing.T) {
			if err := tr.attempt(t, fresh(t)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// trial is one subtest.
type trial struct {
	name string
	opts Options
	run  func(b *bench) error
}

// attempt puts a fresh device on the bench and tries it. Whatever comes of that, it has to let
// go at the end.
func (tr trial) attempt(t testing.TB, s Subject) error {
	if err := s.valid(); err != nil {
		return err
	}
	b, err := newBench(t, s, tr.opts)
	if err != nil {
		return err
	}
	err = tr.run(b)
	if err == nil {
		err = b.Reset()
	}
	if err == nil && b.Device.Stats().Panics > 0 {
		err = errors.New("the backend panicked")
	}
	if err != nil {
		return fmt.Errorf("%w%s", err, b.log.tail())
	}
	b.Close()
	return nil
}

// trials are all that a device like s has to pass.
func trials(s Subject) []trial {
	if s.valid() != nil {
		return describing() // the first will say what is wrong
	}
	return slices.Concat(describing(), framing(s), living(), resetting(), attacking(s))
}

// valid refuses scripts that make no sense.
func (s *Subject) valid() error {
	var bad []error
	if len(s.Script) == 0 {
		bad = append(bad, errors.New("the script is empty"))
	}
	for i, r := range s.Script {
		switch n := len(s.Backend.Info().Queues); {
		case r.Queue < 0 || r.Queue >= n:
			bad = append(bad, fmt.Errorf("request %d: queue %d of %d", i, r.Queue, n))
		case len(r.Readable)+r.Writable == 0 || r.Writable < 0:
			bad = append(bad, fmt.Errorf("request %d has neither readable nor writable bytes", i))
		case s.Backend.Info().Queues[r.Queue] == 1 && len(r.Readable) > 0 && r.Writable > 0:
			bad = append(bad, fmt.Errorf("request %d has two parts, but its queue has one entry", i))
		}
	}
	return errors.Join(bad...)
}

// variants are the ways to run a Rig that must make no difference to a device.
func variants() []Options {
	var all []Options
	for _, legacy := range []bool{false, true} {
		for _, eventIdx := range []bool{true, false} {
			for _, strict := range []int{0, 8} {
				if strict > 0 && raceDetector {
					continue // strict memory is the heap's, and the detector knows of no rings
				}
				if strict > 0 && legacy {
					strict = 4
				}
				o := Options{Legacy: legacy, Strict: strict, QueueSize: 64}
				o.Offer = virtio.FeatureSet(virtio.Version1, virtio.IndirectDesc)
				if eventIdx {
					o.Offer = o.Offer.With(virtio.FeatureSet(virtio.EventIdx))
				}
				all = append(all, o)
			}
		}
	}
	return all
}

// variant names one of them.
func (o Options) variant() string {
	words := []string{"modern", "flags", "normal memory"}
	if o.Legacy {
		words[0] = "legacy"
	}
	if o.Offer.Has(virtio.EventIdx) {
		words[1] = "event-idx"
	}
	if o.Strict > 0 {
		words[2] = fmt.Sprintf("strict memory %d", 8*o.Strict)
	}
	return strings.Join(words, ", ")
}
