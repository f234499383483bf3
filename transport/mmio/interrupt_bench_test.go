package mmio

import "testing"

// BenchmarkInterrupt is one request on one of four live devices, with the work it makes for the
// front-end: how often a handler found something to do, and how many acknowledgements and
// doorbells that cost. Sticky is the default rule, clearing Options.ClearIdle.
func BenchmarkInterrupt(b *testing.B) {
	for _, mode := range []struct {
		name  string
		clear bool
	}{{"sticky", false}, {"clearing", true}} {
		b.Run(mode.name, func(b *testing.B) {
			var toys []*toy
			for range 4 {
				toys = append(toys, &toy{queues: 1, id: 0x4001, size: 16})
			}
			r := newRig(b, newRegion(b), func(o *Options) { o.ClearIdle = mode.clear }, toys...).start()
			var fes []*frontEnd
			for i := range toys {
				f := newFrontEnd(r, virtioExp, i)
				f.rest()
				fes = append(fes, f)
			}
			busy := fes[0]
			runs, acks, rings := 0, 0, 0
			interrupt := func() {
				for _, f := range fes {
					is := f.get(RegInterruptStatus)
					if is&InterruptUsed != 0 {
						f.callbacks()
						runs++
					}
					f.put(RegInterruptACK, is)
					if is != 0 {
						acks++
						rings++
						f.line.kick()
					}
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			runs, acks, rings = 0, 0, 0
			for range b.N {
				busy.offer(0)
				rings++
				r.line.kick()
				for busy.seen[0] != busy.sub[0] {
					<-r.line.out.c
					interrupt()
				}
			}
			n := float64(b.N)
			b.ReportMetric(float64(runs)/n, "callbacks/op")
			b.ReportMetric(float64(acks)/n, "acks/op")
			b.ReportMetric(float64(rings)/n, "rings/op")
		})
	}
}
