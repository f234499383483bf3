package mmio

import (
	"fmt"
	"testing"
)

// BenchmarkScan is one look at everything, as each doorbell costs, with nothing to be found:
// the devices are live and asleep, or wait for their driver.
func BenchmarkScan(b *testing.B) {
	for _, devices := range []int{1, 4, 8} {
		for _, live := range []bool{true, false} {
			b.Run(fmt.Sprintf("devices=%d/live=%v", devices, live), func(b *testing.B) {
				var toys []*toy
				for range devices {
					toys = append(toys, &toy{queues: 1, id: 0x4001, size: 16})
				}
				region := newRegionOf(b, 4*winSize)
				r := newRig(b, region, nil, toys...).start()
				if live {
					for i := range toys {
						newFrontEnd(r, virtioExp, i).rest()
					}
				}
				r.settle()
				r.abandon()
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					if err := r.bus.scan(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*devices), "ns/device")
			})
		}
	}
}
