package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/console"
	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// open is package driver's view of the room.
func (r *room) open(line notify.Line, dialect driver.Dialect) *driver.Window {
	r.tb.Helper()
	region, err := shmem.OpenFile(r.shm, roomSize)
	assert.NilError(r.tb, err)
	w, err := driver.Open(driver.Options{Region: region, Addr: roomAddr, Line: line, Dialect: dialect})
	assert.NilError(r.tb, err)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		w.Run(ctx) // a lost doorbell fails the requests
	}()
	r.tb.Cleanup(func() {
		cancel()
		<-over
		w.Close()
		line.Close()
		region.Close()
	})
	return w
}

func (r *room) dial() notify.Line {
	r.tb.Helper()
	line, err := notify.DialUnix(r.path("bell"))
	assert.NilError(r.tb, err)
	return line
}

// bounded ends a hang.
func bounded(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), watchdog)
	tb.Cleanup(cancel)
	return ctx
}

// serves has both devices of a window do their work.
func (r *room) serves(w *driver.Window) {
	r.tb.Helper()
	d, err := w.Find(bounded(r.tb), virtio.IDEntropy, 0)
	assert.NilError(r.tb, err)
	entropy, err := driver.StartRNG(bounded(r.tb), d)
	assert.NilError(r.tb, err)
	for range 100 {
		b := make([]byte, 100)
		_, err := io.ReadFull(entropy, b)
		assert.NilError(r.tb, err)
		assert.Check(r.tb, string(b) != string(make([]byte, len(b))))
	}
	d, err = w.Find(bounded(r.tb), virtio.IDConsole, 0)
	assert.NilError(r.tb, err)
	c, err := driver.StartConsole(bounded(r.tb), d)
	assert.NilError(r.tb, err)
	conn, err := net.Dial("unix", r.path("console"))
	assert.NilError(r.tb, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(watchdog))
	const line = "through the console and back"
	_, err = c.Write([]byte(line))
	assert.NilError(r.tb, err)
	r.reads(conn, line)
	_, err = conn.Write([]byte(line))
	assert.NilError(r.tb, err)
	b := make([]byte, len(line))
	_, err = io.ReadFull(c, b)
	assert.NilError(r.tb, err)
	assert.Equal(r.tb, string(b), line)
}

// The layout of VxWorks, where the driver finds its devices in the tree and each has its own
// memory.
func TestTreeLayout(t *testing.T) {
	r := newRoom(t)
	m := r.monitor("-layout", "dtb")
	for _, dialect := range []driver.Dialect{driver.Zephyr2021, driver.VirtioExp, driver.V2025} {
		t.Run(dialect.String(), func(t *testing.T) {
			r := r.in(t)
			r.serves(r.open(r.dial(), dialect))
		})
	}
	m.stop()
}

// Neither side can ring: both look.
func TestPollingMonitor(t *testing.T) {
	r := newRoom(t)
	m := r.monitor("-doorbell", "poll:200us")
	line, err := notify.NewPoll(50*time.Microsecond, time.Millisecond, nil)
	assert.NilError(t, err)
	r.serves(r.open(line, driver.VirtioExp))
	m.stop()
}

// Further ports have names, and an end of their own each.
func TestConsolePorts(t *testing.T) {
	r := newRoom(t)
	m := r.monitor("-device", fmt.Sprintf("console,file=%s,port=shell:pty=%s,port=log:file=%s,port=data:unix=%s",
		r.path("out"), r.path("shell"), r.path("log"), r.path("data")))
	w := r.open(r.dial(), driver.VirtioExp)
	d, err := w.Find(bounded(t), virtio.IDConsole, 0)
	assert.NilError(t, err)
	offered, err := d.Offered()
	assert.NilError(t, err)
	assert.Check(t, offered.Has(console.FeatureMultiport), "%v", offered)
	ports := make([]byte, 4)
	assert.NilError(t, d.ReadConfig(ports, 4))
	assert.DeepEqual(t, ports, []byte{4, 0, 0, 0})
	conn, err := net.Dial("unix", r.path("data"))
	assert.NilError(t, err)
	defer conn.Close()

	report, err := askStatus(r.path("status"))
	assert.NilError(t, err)
	var names []string
	for _, p := range report.Devices[0].Ports {
		names = append(names, p.Name)
	}
	assert.DeepEqual(t, names, []string{"", "shell", "log", "data"})
	for _, end := range []string{"shell", "log", "data"} {
		assert.Check(t, !gone(r.path(end)), end)
	}
	m.stop()
}

func TestRateLimit(t *testing.T) {
	r := newRoom(t)
	m := r.monitor("-device", "rng,rate=16")
	w := r.open(r.dial(), driver.VirtioExp)
	d, err := w.Find(bounded(t), virtio.IDEntropy, 0)
	assert.NilError(t, err)
	assert.NilError(t, d.Start(bounded(t), driver.Config{Sizes: []uint16{0}}))
	n, err := d.Queue(0).Do(bounded(t), nil, make([]byte, 100))
	assert.NilError(t, err)
	assert.Check(t, n <= 16, "%d bytes at once, at 16 a second", n)
	m.stop()
}

// The front-end's doorbell outlives the monitor.
func TestRedial(t *testing.T) {
	path := newRoom(t).path("bell")
	listen := func() notify.Line {
		l, err := notify.ListenUnix(path)
		assert.NilError(t, err)
		t.Cleanup(func() { l.Close() })
		return l
	}
	monitor := listen()
	line, err := newRedial(path)
	assert.NilError(t, err)
	t.Cleanup(func() { line.Close() })
	// Whoever waits for the doorbell goes on doing so: that is what dials.
	woken := make(chan error)
	go func() {
		for err := error(nil); err == nil; {
			err = line.Wait()
			woken <- err
		}
	}()
	// woke sees that something wakes it; it may also wake for nothing, any number of times.
	woke := func(what func() error) {
		t.Helper()
		for {
			select {
			case err := <-woken:
				assert.NilError(t, err)
				continue
			default:
			}
			break
		}
		assert.NilError(t, what())
		select {
		case err := <-woken:
			assert.NilError(t, err)
		case <-time.After(watchdog):
			t.Fatal("nobody woke up")
		}
	}
	rung := func(l notify.Line) {
		t.Helper()
		over := time.AfterFunc(watchdog, func() { l.Close() })
		defer over.Stop()
		assert.NilError(t, l.Wait())
	}
	assert.NilError(t, <-woken) // the greeting
	rung(monitor)

	assert.NilError(t, monitor.Close())
	woke(func() error { line.Wake(); return line.Raise() }) // with nobody there

	woke(func() error { monitor = listen(); return nil }) // a new connection counts as a ring
	rung(monitor)
	assert.NilError(t, line.Raise())
	rung(monitor)
	woke(monitor.Raise)

	assert.NilError(t, line.Close())
	for err = nil; err == nil; err = <-woken {
	}
	assert.ErrorIs(t, err, notify.ErrClosed)
}
