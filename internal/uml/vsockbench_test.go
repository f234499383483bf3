package uml

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/uml/talk"
)

// BenchmarkUMLVsock is how fast bytes get through Linux's sockets, and the same bytes through its
// driver of consoles, in one machine for each transport. One turn is some bytes in one direction,
// timed by who receives them.
//
//	go test ./internal/uml -run '^$' -bench UMLVsock -benchtime 5x
func BenchmarkUMLVsock(b *testing.B) {
	r := prepare(b)
	for _, l := range []lane{{"vhost-user", r, attachVhostUser}, {"mmio", r, attachMMIO}} {
		b.Run(l.name, func(b *testing.B) {
			const n = 64 << 20
			w, err := newTown()
			assert.NilError(b, err)
			w.drain = n
			d, ends := newConsole(b, "", "bulk")
			ctx := within(b, 2*patience)
			g := l.boot(ctx, b, Config{
				Attachments: []Attachment{l.attach(b, r, w.Device, d)}, Modules: append(consoleDriver, vsockDriver...),
				Job: "vsock",
			})
			v := visitor{g, ctx}
			defer attend(ctx, g, ends[1])()
			for _, way := range []struct {
				name string
				run  func(b *testing.B) float64
			}{
				{"to host/socket", func(b *testing.B) float64 {
					assert.NilError(b, v.do("pour", talk.VsockDo{Port: talk.PortDrain, Bytes: n}, nil))
					return <-w.drained
				}},
				{"to host/console", func(b *testing.B) float64 {
					assert.NilError(b, v.begin("console", talk.VsockDo{Port: talk.PortPour, Name: "bulk", Bytes: n}))
					seconds, err := talk.Drain(ends[1], n)
					assert.NilError(b, err)
					assert.NilError(b, v.finish(nil))
					return seconds
				}},
				{"to guest/socket", func(b *testing.B) (seconds float64) {
					assert.NilError(b, v.do("drain", talk.VsockDo{Port: talk.PortPour, Bytes: n}, &seconds))
					return seconds
				}},
				{"to guest/console", func(b *testing.B) (seconds float64) {
					assert.NilError(b, v.begin("console", talk.VsockDo{Port: talk.PortDrain, Name: "bulk", Bytes: n}))
					assert.NilError(b, talk.Pour(ends[1], n))
					assert.NilError(b, v.finish(&seconds))
					return seconds
				}},
			} {
				b.Run(way.name, func(b *testing.B) {
					seconds := 0.0
					for b.Loop() {
						seconds += way.run(b)
					}
					b.ReportMetric(0, "ns/op") // of which the machine's own talk is a part
					b.ReportMetric(float64(b.N)*n/1e6/seconds, "MB/s")
				})
			}
			v.leave(b)
		})
	}
}
