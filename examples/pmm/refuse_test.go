package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

func TestSocketsOfAKilledMonitorAreTakenOver(t *testing.T) {
	r := newRoom(t)
	r.monitor().kill()
	for _, socket := range []string{"bell", "status", "console"} {
		assert.Check(t, !gone(r.path(socket)), socket)
	}
	m := r.monitor()
	r.echoed()
	r.twin("virtio-exp", everything...).ends(twinDone)
	_, err := askStatus(r.path("status"))
	assert.NilError(t, err)
	m.stop()
}

// Two monitors on one window would answer over each other, and two on one doorbell would take
// each other's rings.
func TestSecondMonitorIsRefused(t *testing.T) {
	r := newRoom(t)
	first := r.monitor()
	for name, tt := range map[string]struct {
		change func(*room)
		want   []string
	}{
		"same window":   {func(o *room) { o.dir = t.TempDir() }, []string{"-shmem", r.shm, "another monitor"}},
		"same doorbell": {func(o *room) { o.shm += "2" }, []string{"-doorbell", r.path("bell"), "listening"}},
	} {
		other := *r
		tt.change(&other)
		p := start(t, child("pmm", other.args()...))
		p.ends(1)
		for _, want := range tt.want {
			assert.Check(t, is.Contains(p.log.String(), want), name)
		}
	}
	r.twin("virtio-exp", "rng", "9", "3").ends(twinDone)
	first.stop()
}

// What cannot be opened is named, and nothing else is left behind.
func TestOpeningFails(t *testing.T) {
	r := newRoom(t)
	assert.NilError(t, os.WriteFile(r.path("file"), make([]byte, 4096), 0o600))
	missing := filepath.Join(r.dir, "no", "such")
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"window of another size":     {[]string{"-shmem", fmt.Sprintf("file:%s,size=1M,addr=0x1000", r.path("file"))}, r.path("file")},
		"window that is a folder":    {[]string{"-shmem", fmt.Sprintf("file:%s,size=1M,addr=0x1000", r.dir)}, "-shmem"},
		"window nowhere":             {[]string{"-shmem", fmt.Sprintf("file:%s,size=1M,addr=0x1000", missing)}, missing},
		"uio that is not there":      {[]string{"-shmem", "uio:no-such-device"}, "no-such-device"},
		"doorbell nowhere":           {[]string{"-doorbell", "unix:" + missing}, missing},
		"doorbell on a file":         {[]string{"-doorbell", "unix:" + r.path("file")}, "-doorbell"},
		"status nowhere":             {[]string{"-status", "unix:" + missing}, "-status"},
		"status on a file":           {[]string{"-status", "unix:" + r.path("file")}, "-status"},
		"console socket nowhere":     {[]string{"-device", "console,unix=" + missing}, missing},
		"console file nowhere":       {[]string{"-device", "console,file=" + missing}, missing},
		"directory nowhere":          {[]string{"-device", "9p,tag=x,dir=" + missing}, missing},
		"directory that is a file":   {[]string{"-device", "9p,tag=x,dir=" + r.path("file")}, r.path("file")},
		"sockets nowhere":            {[]string{"-device", "vsock,cid=3,unix=" + missing}, missing},
		"sockets on a file":          {[]string{"-device", "vsock,cid=3,unix=" + r.path("file")}, r.path("file")},
		"forward from nowhere":       {[]string{"-device", "vsock,cid=3,unix=" + r.path("console") + ",forward=tcp:192.0.2.1:1:2"}, "192.0.2.1:1"},
		"second port nowhere":        {[]string{"-device", "console,pty,port=a:unix=" + missing}, missing},
		"port name that is too long": {[]string{"-device", "console,pty,port=" + strings.Repeat("n", 1000) + ":pty"}, "-device"},
	} {
		t.Run(name, func(t *testing.T) {
			r := r.in(t)
			p := start(t, child("pmm", r.args(tt.args...)...))
			p.ends(1)
			assert.Check(t, is.Contains(p.log.String(), tt.want))
			for _, socket := range []string{"bell", "status", "console"} {
				assert.Check(t, gone(r.path(socket)), socket)
			}
		})
	}
}
