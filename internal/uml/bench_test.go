package uml

import (
	"context"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/internal/uml/talk"
)

// BenchmarkUML is what a stock driver in User-Mode Linux gets out of a device, by transport: one
// turn is a boot and a job, MB/s is of the job alone, as the guest measures it.
//
//	go test ./internal/uml -run '^$' -bench UML -benchtime 3x
//
// Entropy is fetched 64 bytes at a time, so its figure is one of latency.
func BenchmarkUML(b *testing.B) {
	r := prepare(b)
	for _, l := range []lane{{"vhost-user", r, attachVhostUser}, {"mmio", r, attachMMIO}} {
		b.Run("entropy/"+l.name, func(b *testing.B) {
			const n = 1 << 20
			a := l.attach(b, r, rng.New(rng.Options{}))
			l.measure(b, n, func(ctx context.Context) float64 { return readRNG(ctx, b, l, a, n).Seconds })
		})
		b.Run("terminal/"+l.name, func(b *testing.B) {
			const n = 1 << 22
			l.measure(b, n, func(ctx context.Context) float64 {
				d, ends := newConsole(b, "", "bulk")
				g := l.boot(ctx, b, Config{
					Attachments: []Attachment{l.attach(b, r, d)}, Modules: consoleDriver,
					Job: "bulk", Args: talk.PortsArgs{Names: []string{"bulk"}, Bytes: n},
				})
				assert.NilError(b, g.Say("port", nil))
				bulk := bothWays(ctx, b, g, ends[1], "port", n)
				assert.NilError(b, g.Wait(ctx))
				return bulk.Seconds
			})
		})
	}
}

// measure runs jobs that move n bytes, or n each way, and take some seconds of the guest's.
func (l lane) measure(b *testing.B, n int, run func(context.Context) float64) {
	seconds := 0.0
	for b.Loop() {
		seconds += run(within(b, patience))
	}
	b.ReportMetric(float64(b.N)*float64(n)/1e6/seconds, "MB/s")
}
