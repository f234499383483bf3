package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/virtio"
)

// hvl-v2 from the command line, with package driver on the other side.
func TestV2Layout(t *testing.T) {
	r := newRoom(t)
	m := r.monitor("-layout", "v2")
	r.serves(r.open(r.dial(), driver.VirtioExp))
	report, err := askStatus(r.path("status"))
	assert.NilError(t, err)
	assert.Equal(t, report.Layout, "v2")
	assert.Equal(t, report.Devices[0].Header, "0x37002000")
	assert.Assert(t, is.Contains(report.Devices[0].Status, "driver-ok"))
	assert.Assert(t, report.Devices[0].Live)
	assert.Assert(t, is.Contains(report.Devices[0].Features, "32"))
	m.stop()
}

// A monitor is killed under a driver that reads, again and again: the driver notices a wait.
func TestV2MonitorIsKilled(t *testing.T) {
	r := newRoom(t)
	m := r.monitor("-layout", "v2")
	line, err := newRedial(r.path("bell"))
	assert.NilError(t, err)
	w := r.open(line, driver.VirtioExp)
	d, err := w.Find(bounded(t), virtio.IDEntropy, 0)
	assert.NilError(t, err)
	entropy, err := driver.StartRNG(bounded(t), d)
	assert.NilError(t, err)
	read := func() {
		t.Helper()
		p := make([]byte, 64)
		_, err := io.ReadFull(entropy, p)
		assert.NilError(t, err)
		assert.Assert(t, !bytes.Equal(p, make([]byte, 64)))
	}
	for range 5 {
		read()
		m.kill()
		m = r.monitor("-layout", "v2")
		m.log.await(t, "goes on with a live driver", 1)
		read()
		assert.Equal(t, strings.Count(m.log.String(), "has to reset"), 0)
	}
	m.stop()
}

// Two monitors on one window: the second one says what is the matter.
func TestV2WindowIsServedOnce(t *testing.T) {
	r := newRoom(t)
	m := r.monitor("-layout", "v2")
	second := start(t, child("pmm", r.args("-layout", "v2", "-doorbell", "unix:"+r.path("bell2"))...))
	second.wait()
	assert.Assert(t, is.Contains(second.log.String(), "another monitor serves this window"))
	m.stop()
}
