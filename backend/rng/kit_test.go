package rng_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"testing"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
)

// trickle is a source of a few bytes at a time, which is the device's to read as it comes.
type trickle struct{}

func (trickle) Read(p []byte) (int, error) { return rand.Read(p[:min(len(p), 7)]) }

func TestKit(t *testing.T) {
	for _, tt := range []struct {
		name  string
		opts  rng.Options
		least int // bytes of an answer, where there is room
	}{
		{"system", rng.Options{}, 64},
		{"reader", rng.Options{Source: io.LimitReader(rand.Reader, 1<<40)}, 64},
		{"slow reader", rng.Options{Source: trickle{}}, 7},
		{"rate", rng.Options{Rate: 1 << 30}, 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			random := func(n int) virtiotest.Request {
				return virtiotest.Request{Writable: n, Check: func(reply []byte) error {
					if len(reply) < min(n, tt.least) {
						return fmt.Errorf("only %d bytes", len(reply))
					}
					if len(reply) > 4 && bytes.Count(reply, reply[:1]) == len(reply) {
						return fmt.Errorf("not random: % x", reply)
					}
					return nil
				}}
			}
			virtiotest.TestBackend(t, func(testing.TB) virtiotest.Subject {
				return virtiotest.Subject{
					Backend: rng.New(tt.opts),
					Script:  []virtiotest.Request{random(8), random(1), random(64)},
				}
			})
		})
	}
}
