package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
)

// gone reports whether a file is not there.
func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func TestSignalsStopTheMonitor(t *testing.T) {
	for _, s := range []os.Signal{unix.SIGTERM, unix.SIGINT} {
		for _, live := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, front-end %v", s, live), func(t *testing.T) {
				r := newRoom(t)
				m := r.monitor()
				if live {
					f := r.twin("virtio-exp", "rng", "9", "1000000")
					m.log.await(t, "is live", 1)
					defer f.kill()
				}
				m.signal(s)
				m.ends(0)
				assert.Check(t, is.Contains(m.log.String(), "msg=stopped"))
				for _, socket := range []string{"bell", "status", "console"} {
					assert.Check(t, gone(r.path(socket)), socket)
				}
				assert.Check(t, !gone(r.shm), "the window is not the monitor's to remove")
			})
		}
	}
}

// The first signal begins an orderly end, which a terminal that takes no more output holds up;
// the second does not wait for it.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	for range 5 {
		r := newRoom(t)
		cmd := child("pmm", r.args("-device", "console,stdio")...)
		in, out, err := os.Pipe()
		assert.NilError(t, err)
		defer in.Close()
		m := startWith(t, cmd, out)
		out.Close()
		m.log.await(t, "msg=ready", 1)
		f := r.twin("virtio-exp", "print", strings.Repeat("x", 100<<10))
		m.log.await(t, "is live", 1)
		fill(t, in)
		m.signal(unix.SIGTERM)
		m.log.await(t, "msg=stopped", 1)
		m.signal(unix.SIGTERM)
		m.wait()
		f.kill()
		if status := m.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
			assert.Equal(t, status.Signal(), unix.SIGTERM)
			return
		}
		// The first end was faster than we were: once more.
	}
	t.Fatal("the second signal was not heard")
}

// fill returns when a pipe has as much in it as it holds.
func fill(t *testing.T, pipe *os.File) {
	t.Helper()
	conn, err := pipe.SyscallConn()
	assert.NilError(t, err)
	size, held := 0, 0
	for deadline := time.Now().Add(watchdog); held+4096 < size || size == 0; {
		assert.Assert(t, time.Now().Before(deadline), "%d of %d bytes in the pipe", held, size)
		conn.Control(func(fd uintptr) {
			size, _ = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0)
			held, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ)
		})
	}
}

// marked puts a mark into memory that the monitor has no use for.
func (r *room) marked() func() uint32 {
	r.tb.Helper()
	region, err := shmem.OpenFile(r.shm, roomSize)
	assert.NilError(r.tb, err)
	r.tb.Cleanup(func() { region.Close() })
	span, err := region.Span(roomSize/2, 4)
	assert.NilError(r.tb, err)
	span.Store32(0, 0x6d61726b)
	return func() uint32 { return span.Load32(0) }
}

func TestWipe(t *testing.T) {
	r := newRoom(t)
	m := r.monitor()
	r.twin("virtio-exp", "rng", "9", "3").ends(twinDone)
	mark := r.marked()
	m.kill()
	m = r.monitor()
	assert.Equal(t, mark(), uint32(0x6d61726b), "a window found live is attached to, never wiped")
	assert.Check(t, is.Contains(m.log.String(), "taken over"))
	m.stop()
	m = r.monitor("-wipe")
	assert.Equal(t, mark(), uint32(0))
	assert.Check(t, !strings.Contains(m.log.String(), "taken over"))
	r.twin("virtio-exp", "rng", "9", "3").ends(twinDone)
	m.stop()
}

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
	for _, layout := range []string{"table", "dtb"} {
		t.Run(layout, func(t *testing.T) {
			r := newRoom(t)
			m := r.monitor("-layout", layout)
			var text, fdt strings.Builder
			args := r.args("-layout", layout)[1:]
			assert.Equal(t, run(append([]string{"layout", "-format", "text"}, args...), &text, os.Stderr), 0)
			assert.Equal(t, run(append([]string{"layout", "-format", "dtb"}, args...), &fdt, os.Stderr), 0)
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
