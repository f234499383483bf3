package virtiotest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"runtime/pprof"
	"strings"

	"github.com/hypervisorless/virtio/virtio"
)

// framing are the trials of a driver that does all right, in every shape that is right. None
// may make a difference to the device (2.7.4.1).
func framing(s Subject) (all []trial) {
	var r, w int
	for _, req := range s.Script {
		r, w = max(r, len(req.Readable)), max(w, req.Writable)
	}
	for _, o := range variants() {
		all = append(all, trial{"framing/" + o.variant(), o, func(b *bench) error {
			for _, f := range []frame{plain, crumbs, holes} {
				for _, wrap := range []wrapping{direct, indirect, mixed, odd} {
					if err := b.again(&watch{b: b}, f.in(wrap)); err != nil {
						return err
					}
				}
			}
			for _, f := range places(r, w) {
				for _, wrap := range []wrapping{direct, indirect} {
					if err := b.again(nil, f.in(wrap)); err != nil {
						return err
					}
				}
			}
			return nil
		}})
	}
	return all
}

// describing are the trials of what a device says of itself.
func describing() []trial {
	return []trial{
		{"info", Options{}, func(b *bench) error {
			if was, is := b.Device.Info(), b.Backend.Info(); !reflect.DeepEqual(was, is) {
				return fmt.Errorf("what Info says changes: %+v, then %+v", was, is)
			}
			return nil
		}},
		{"features", Options{}, (*bench).subsets},
		{"config", Options{}, (*bench).configReads},
	}
}

// subsets tries which sets of features the device takes (2.2.2), and that it lives with them.
func (b *bench) subsets() error {
	offered := b.Device.Offered()
	rnd := rand.New(rand.NewPCG(1, 1))
	sets := []virtio.Features{offered, virtio.FeatureSet(virtio.Version1)}
	for range 50 {
		sets = append(sets, offered.And(virtio.Features{rnd.Uint64(), rnd.Uint64()}))
	}
	for _, f := range sets {
		f = b.closed(f.With(virtio.FeatureSet(virtio.Version1)))
		for range 2 { // what was taken once is taken again
			if err := b.Reset(); err != nil {
				return err
			}
			if err := b.Up(f); err != nil {
				return fmt.Errorf("features %v of %v: %w", f, offered, err)
			}
			if err := b.Device.Broken(); err != nil {
				return fmt.Errorf("features %v of %v: %w", f, offered, err)
			}
		}
	}
	for bit, bases := range b.Needs {
		f := virtio.FeatureSet(virtio.Version1, bit)
		if err := b.Reset(); err != nil {
			return err
		}
		if len(bases) > 0 && b.Negotiate(f) == nil {
			return fmt.Errorf("features %v were taken, but %d needs %v", f, bit, bases)
		}
	}
	return nil
}

// closed is f without what cannot be had without the rest.
func (b *bench) closed(f virtio.Features) virtio.Features {
	for again := true; again; {
		again = false
		for bit, bases := range b.Needs {
			if f.Has(bit) && f.And(virtio.FeatureSet(bases...)) != virtio.FeatureSet(bases...) {
				f = f.Without(virtio.FeatureSet(bit))
				again = true
			}
		}
	}
	return f
}

// configReads reads the configuration space in every piece, before and after FEATURES_OK (2.5.2).
func (b *bench) configReads() error {
	n := b.Device.Info().ConfigLen
	all := make([]byte, n)
	b.Device.ReadConfig(all, 0)
	for _, stage := range []func() error{
		func() error { return nil },
		func() error { return b.Negotiate(b.features()) },
		b.works,
	} {
		if err := stage(); err != nil {
			return err
		}
		for off := range n {
			for size := 1; size <= n-off+8; size++ {
				want := make([]byte, size)
				copy(want, all[off:])
				p := bytes.Repeat([]byte{0xee}, size)
				b.Device.ReadConfig(p, off)
				if !bytes.Equal(p, want) {
					return fmt.Errorf("configuration read of %d bytes at %d: % x, not % x", size, off, p, want)
				}
			}
		}
		if err := b.Device.Broken(); err != nil {
			return err
		}
	}
	return nil
}

// living are the trials of how a device passes its days.
func living() []trial {
	return []trial{
		{"sessions", Options{}, (*bench).sessions},
		{"few queues", Options{}, (*bench).fewQueues},
		{"spurious kicks", Options{}, (*bench).kicks},
	}
}

// sessions plays the script in many sessions and looks for what they leave behind.
func (b *bench) sessions() error {
	const n = 20
	if err := b.works(); err != nil {
		return err // and what is started but once has been
	}
	if err := b.Reset(); err != nil {
		return err
	}
	before := runtime.NumGoroutine()
	for range n {
		if err := b.works(); err != nil {
			return err
		}
	}
	if err := b.Reset(); err != nil {
		return err
	}
	if !b.Await(func() bool { return runtime.NumGoroutine() < before+n/2 }) {
		var stacks strings.Builder
		pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		return fmt.Errorf("%d sessions left %d goroutines behind:\n%s", n, runtime.NumGoroutine()-before, &stacks)
	}
	return nil
}

// fewQueues brings the device up with no queue, and with each alone: a driver may have no use
// for some.
func (b *bench) fewQueues() error {
	for i := -1; i < len(b.queues); i++ {
		if err := b.Reset(); err != nil {
			return err
		}
		if err := b.Negotiate(b.features()); err != nil {
			return err
		}
		if i >= 0 {
			if err := b.Enable(i); err != nil {
				return err
			}
		}
		if err := b.Go(); err != nil {
			return err
		}
		b.Device.Kick()
		if err := b.Reset(); err != nil {
			return err
		}
		if b.Device.Stats().Panics > 0 {
			return fmt.Errorf("the backend panicked with queue %d as the only one (-1: with none)", i)
		}
	}
	return b.recovers()
}

// kicks rings when there is nothing to be had (2.7.10.2).
func (b *bench) kicks() error {
	if err := b.works(); err != nil {
		return err
	}
	w := &watch{b: b}
	w.look()
	for range 1000 {
		b.Device.Kick()
	}
	if err := w.check(); err != nil {
		return err
	}
	return b.play(nil, nil, plain)
}
