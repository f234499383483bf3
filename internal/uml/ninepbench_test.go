package uml

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/uml/talk"
)

// BenchmarkUML9P is what Linux's 9P client in User-Mode Linux gets out of our device and, in the
// same run, out of Debian's diod behind a proxy. One machine for each, one turn is the work of one
// kind, timed by the guest.
//
//	go test ./internal/uml -run '^$' -bench UML9P -benchtime 3x
func BenchmarkUML9P(b *testing.B) {
	r := prepare(b)
	l := lane{"vhost-user", r, attachVhostUser}
	var houses []*house
	for _, s := range []server{ours, diod} {
		h := l.move(within(b, ninepPatience), b, s)
		assert.NilError(b, h.do("mount", talk.MountArgs{Tag: ninepTag, Options: h.options("cache=none")}, nil))
		houses = append(houses, h)
	}
	for _, w := range []talk.MeasureArgs{
		{Kind: "sequential", N: 512, Size: 64 << 10}, {Kind: "random", N: 4000, Size: 4 << 10}, {Kind: "names", N: 1000},
	} {
		for _, h := range houses {
			b.Run(w.Kind+"/"+h.server.name, func(b *testing.B) {
				w.Dir = "bench"
				total := map[string]float64{}
				for b.Loop() {
					var seconds map[string]float64
					assert.NilError(b, h.do("measure", w, &seconds))
					for part, s := range seconds {
						total[part] += s
					}
				}
				b.ReportMetric(0, "ns/op") // of which the machine's own talk is a part
				for part, s := range total {
					n := float64(b.N * w.N)
					if w.Size == 0 {
						b.ReportMetric(n/s, part+"s/s")
						continue
					}
					b.ReportMetric(n*float64(w.Size)/1e6/s, part+"-MB/s")
				}
			})
		}
	}
	for _, h := range houses {
		assert.NilError(b, h.do("unmount", struct{}{}, nil))
		h.leave(b)
	}
}
