package uml

import (
	"fmt"
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
		{Kind: "write", N: 512, Size: 64 << 10}, {Kind: "read", N: 512, Size: 64 << 10},
		{Kind: "random write", N: 4000, Size: 4 << 10}, {Kind: "random read", N: 4000, Size: 4 << 10},
		{Kind: "create", N: 1000}, {Kind: "stat", N: 1000}, {Kind: "unlink", N: 1000},
	} {
		for _, h := range houses {
			name := w.Kind
			if w.Size > 0 {
				name = fmt.Sprintf("%s %d KiB", w.Kind, w.Size>>10)
			}
			b.Run(name+"/"+h.server.name, func(b *testing.B) {
				total := 0.0
				for i := range b.N { // not Loop: each turn is to find what the one before has left
					w.Dir = "bench"
					if w.Size == 0 {
						w.Dir = fmt.Sprintf("bench%d", i)
					}
					var seconds float64
					assert.NilError(b, h.do("measure", w, &seconds))
					total += seconds
				}
				n := float64(b.N * w.N)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(n/total, "ops/s")
				if w.Size > 0 {
					b.ReportMetric(n*float64(w.Size)/1e6/total, "MB/s")
				}
			})
		}
	}
	for _, h := range houses {
		assert.NilError(b, h.do("unmount", struct{}{}, nil))
		h.leave(b)
	}
}
