package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/transport/mmio"
)

func TestReadyIsReportedToTheServiceManager(t *testing.T) {
	r := newRoom(t)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: r.path("notify"), Net: "unixgram"})
	assert.NilError(t, err)
	defer manager.Close()
	cmd := child("pmm", r.args()...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+r.path("notify"))
	m := start(t, cmd)
	manager.SetReadDeadline(time.Now().Add(watchdog))
	b := make([]byte, 64)
	n, err := manager.Read(b)
	assert.NilError(t, err, "%s", m.log)
	assert.Equal(t, string(b[:n]), "READY=1")
	// Whoever is told may begin: the magic is there, and the doorbell listens.
	r.twin("virtio-exp", "rng", "9", "1").ends(twinDone)
	m.stop()
}

func TestMemfdIsOpenedThroughTheReadyLine(t *testing.T) {
	r := newRoom(t)
	m := start(t, child("pmm", "run", "-shmem", fmt.Sprintf("memfd:size=%d,addr=%#x", roomSize, roomAddr),
		"-doorbell", "unix:"+r.path("bell"), "-device", "rng"))
	found := regexp.MustCompile(`memory=(\S+)`).FindStringSubmatch(m.log.await(t, "msg=ready", 1))
	assert.Assert(t, found != nil, "%s", m.log)
	r.shm = found[1]
	r.twin("virtio-exp", "rng", "9", "100").ends(twinDone)
	m.stop()
}

func TestLogAsJSON(t *testing.T) {
	r := newRoom(t)
	m := start(t, child("pmm", r.args("-log", "json")...))
	var line struct {
		Level, Msg, Memory, Addr string
		Size, Devices            int
	}
	assert.NilError(t, json.Unmarshal([]byte(m.log.await(t, `"msg":"ready"`, 1)), &line))
	assert.Equal(t, line.Memory, r.shm)
	assert.Equal(t, line.Addr, "0x37000000")
	assert.Equal(t, line.Size, roomSize)
	assert.Equal(t, line.Devices, 2)
	m.stop()
}

func TestRunsFromConfigFile(t *testing.T) {
	r := newRoom(t)
	text, err := json.Marshal(map[string]any{
		"shmem":    fmt.Sprintf("file:%s,size=16M,addr=0x37000000", r.shm),
		"doorbell": "unix:" + r.path("bell"), "device": []string{"rng", "console,file=" + r.path("output")},
	})
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(r.path("config"), text, 0o600))
	m := start(t, child("pmm", "run", "-config", r.path("config"), "-status", "unix:"+r.path("status")))
	m.log.await(t, "msg=ready", 1)
	r.twin("v2025.04", "rng", "9", "3", "print", "to a file").ends(twinDone)
	report, err := askStatus(r.path("status"))
	assert.NilError(t, err)
	assert.Equal(t, len(report.Devices), 2)
	m.stop()
	output, err := os.ReadFile(r.path("output"))
	assert.NilError(t, err)
	assert.Equal(t, string(output), "to a file")
}

// The window shows what pmm layout says of it.
func TestWindowIsAsLayoutSays(t *testing.T) {
	for _, layout := range []string{"table", "dtb", "v2"} {
		t.Run(layout, func(t *testing.T) {
			r := newRoom(t)
			m := r.monitor("-layout", layout)
			var text, fdt strings.Builder
			args := r.args("-layout", layout)[1:]
			assert.Equal(t, run(append([]string{"layout", "-format", "text"}, args...), &text, os.Stderr), 0)
			if layout != "v2" {
				assert.Equal(t, run(append([]string{"layout", "-format", "dtb"}, args...), &fdt, os.Stderr), 0)
			}
			memory, err := os.ReadFile(r.shm)
			assert.NilError(t, err)
			headers := regexp.MustCompile(`(?m)^\d+ +(\w+) +(\d+)  (0x\w+)`).FindAllStringSubmatch(text.String(), -1)
			assert.Equal(t, len(headers), 2, text.String())
			for _, h := range headers {
				var id uint32
				var addr uint64
				fmt.Sscan(h[2], &id)
				fmt.Sscan(h[3], &addr)
				header := memory[addr-roomAddr:]
				assert.Equal(t, string(header[:4]), "virt", h[1])
				assert.Equal(t, uint32(header[mmio.RegDeviceID]), id, h[1])
			}
			if layout == "dtb" {
				assert.Equal(t, string(memory[:len(fdt.String())]), fdt.String())
			}
			m.stop()
		})
	}
}
