package rng

import (
	"fmt"
	"testing"

	"github.com/hypervisorless/virtio/vring/vringtest"
)

// rounds prepares depth requests of n bytes on the link and returns a function that makes them
// available together and takes their completions.
func rounds(l *link, n uint64, depth int) func() {
	heads := make([]uint16, depth)
	for i := range heads {
		heads[i] = uint16(i)
		l.ring.Chain(heads[i], vringtest.Writable(l.mem.Alloc(n, 64), uint32(n)))
	}
	return func() {
		l.ring.Offer(heads...)
		l.dev.Kick()
		for range heads {
			for _, ok := l.ring.Used(); !ok; _, ok = l.ring.Used() {
				<-l.event
			}
		}
	}
}

func BenchmarkRNGBackend(b *testing.B) {
	for _, source := range []string{"system", "reader"} {
		for _, n := range []uint64{9, 64, 4096} {
			for _, depth := range []int{1, 16} {
				b.Run(fmt.Sprintf("%s/%dB/depth%d", source, n, depth), func(b *testing.B) {
					opts := Options{}
					if source == "reader" {
						opts.Source = &counter{}
					}
					round := rounds(newLink(b, New(opts), 1<<20), n, depth)
					b.SetBytes(int64(n) * int64(depth))
					b.ReportAllocs()
					for b.Loop() {
						round()
					}
				})
			}
		}
	}
}

func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, tt := range []struct {
		name string
		opts Options
	}{
		{"system", Options{}},
		{"rate", Options{Rate: 1 << 30}},
		{"reader", Options{Source: &counter{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			round := rounds(newLink(t, New(tt.opts), 1<<20), 64, 16)
			if n := testing.AllocsPerRun(200, round); n != 0 {
				t.Errorf("%v allocations for 16 requests", n)
			}
		})
	}
}
