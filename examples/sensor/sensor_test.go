package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
)

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// heated sees that the oven got where it should.
func heated(t *testing.T, out string, steps int) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	assert.Equal(t, len(lines), steps)
	var n int
	var celsius, power float64
	_, err := fmt.Sscanf(lines[steps-1], "sample %d: %f °C, heater %f %%", &n, &celsius, &power)
	assert.NilError(t, err, lines[steps-1])
	assert.Check(t, math.Abs(celsius-target) < 5, lines[steps-1])
	assert.Check(t, power > 0 && power < 100, lines[steps-1])
}

func TestBothInOneProcess(t *testing.T) {
	var out bytes.Buffer
	assert.NilError(t, run(bounded(t), "both", "", "", 60, &out))
	heated(t, out.String(), 60)
}

// The two sides that main starts as two processes, over file and socket.
func TestTwoSides(t *testing.T) {
	window, bell := filepath.Join(t.TempDir(), "window"), filepath.Join(t.TempDir(), "bell")
	ctx, stop := context.WithCancel(bounded(t))
	served := make(chan error, 1)
	go func() { served <- run(ctx, "monitor", window, bell, 0, nil) }()
	for range 2 { // the second is the first restarted
		var out bytes.Buffer
		for {
			err := run(bounded(t), "firmware", window, bell, 60, &out)
			if err == nil {
				break
			}
			select {
			case err := <-served:
				t.Fatal("monitor ended: ", err)
			case <-time.After(time.Millisecond): // it does not listen yet
			}
		}
		heated(t, out.String(), 60)
	}
	stop()
	assert.NilError(t, <-served)
}

func TestUnknownSide(t *testing.T) {
	assert.ErrorContains(t, run(bounded(t), "left", "", "", 0, nil), "monitor, firmware, both")
}

func float(v float64) []byte { return binary.LittleEndian.AppendUint64(nil, math.Float64bits(v)) }

func TestKit(t *testing.T) {
	virtiotest.TestBackend(t, func(testing.TB) virtiotest.Subject {
		dev := &Device{}
		dev.OnSample = func(v float64) { dev.SetPower(v + 1) }
		return virtiotest.Subject{
			Backend: dev,
			Script: []virtiotest.Request{
				{Queue: 0, Readable: float(41)},
				{Queue: 1, Writable: 8, Check: func(reply []byte) error {
					if !bytes.Equal(reply, float(42)) {
						return errors.New("the device does not know what it was told")
					}
					return nil
				}},
			},
		}
	})
}

func TestRefusesNonsense(t *testing.T) {
	dev := &Device{OnSample: func(v float64) { t.Errorf("%v was taken for a sample", v) }}
	rig := virtiotest.NewRig(t, dev, virtiotest.Options{})
	assert.NilError(t, rig.Up(virtio.FeatureSet(virtio.Version1)))
	for _, nonsense := range [][]byte{{1}, float(math.NaN()), float(math.Inf(-1))} {
		_, err := rig.Queue(0).Do(nonsense, 0)
		assert.NilError(t, err)
	}
	assert.Equal(t, rig.Device.Stats().Queues[0].Refused, uint64(3))
	assert.NilError(t, rig.Reset())
}
