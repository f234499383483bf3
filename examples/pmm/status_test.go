package main

import (
	"encoding/json"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

func TestStatus(t *testing.T) {
	r := newRoom(t)
	m := r.monitor()
	r.echoed()
	r.twin("virtio-exp", "rng", "9", "100", "print", "hello", "expect", "hello", "hostile", "outside", "idle", "1").ends(twinDone)

	ask := start(t, child("pmm", "status", "-status", "unix:"+r.path("status")))
	ask.ends(0)
	for _, want := range []string{"rng (rng) at 0x37000000: live", "console (console) at 0x37000200: live", "queue 0", "port 0", "refused"} {
		assert.Check(t, is.Contains(ask.out.String(), want))
	}

	ask = start(t, child("pmm", "status", "-json", "-status", "unix:"+r.path("status")))
	ask.ends(0)
	var report statusReport
	assert.NilError(t, json.Unmarshal([]byte(ask.out.String()), &report))
	assert.Equal(t, report.Window, r.shm)
	assert.Equal(t, report.Devices[0].Type, "rng")
	assert.Check(t, report.Devices[0].Queues[0].Chains >= 100, "%+v", report)
	assert.Check(t, report.Devices[0].Queues[0].Refused+report.Devices[0].Faults > 0, "%+v", report)
	assert.Check(t, is.Equal(report.Devices[1].Queues[1].BytesIn, uint64(5)))
	assert.Check(t, report.Devices[1].Ports[0].Attached)
	m.stop()

	ask = start(t, child("pmm", "status", "-status", "unix:"+r.path("status")))
	ask.ends(1)
	assert.Check(t, is.Contains(ask.log.String(), r.path("status")))
}
