package driver_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/virtio"
)

// Every dialect, every way to wait, with and without a goroutine at the doorbell, flags and
// event indices.
func TestDo(t *testing.T) {
	for _, dialect := range dialects {
		for _, spin := range []time.Duration{0, 20 * time.Microsecond, time.Second} {
			for _, runs := range []bool{false, true} {
				for _, features := range []virtio.Features{{}, virtio.FeatureSet(virtio.EventIdx)} {
					t.Run(fmt.Sprintf("%v/spin=%v/run=%v/%v", dialect, spin, runs, features), func(t *testing.T) {
						d := linked(t, &echo{queues: 2, features: features}, driver.Options{Dialect: dialect, Spin: spin})
						assert.Equal(t, d.Negotiated(), features)
						if runs {
							run(t, d.Window())
						}
						for i := range 300 {
							out := bytes.Repeat([]byte{byte(i)}, i%77+1)
							in := make([]byte, 80)
							n, err := d.Queue(i%2).Do(bounded(t), out, in)
							assert.NilError(t, err)
							assert.DeepEqual(t, in[:n], out)
						}
					})
				}
			}
		}
	}
}

