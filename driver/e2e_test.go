package driver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/console"
	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/internal/emulator"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// pattern is an endless source that can be recognised.
type pattern struct{ next byte }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = p.next
		p.next++
	}
	return len(b), nil
}

// places are the ways in which the two sides can share a window and its doorbells.
var places = []struct {
	name string
	open func(*testing.T) (region [2]*shmem.Region, line [2]notify.Line)
}{
	{"heap", func(t *testing.T) (region [2]*shmem.Region, line [2]notify.Line) {
		r := shmem.NewHeap(winSize)
		line[0], line[1] = notify.NewPair()
		return [2]*shmem.Region{r, r}, line
	}},
	{"strict", func(t *testing.T) (region [2]*shmem.Region, line [2]notify.Line) {
		r, _ := shmem.NewStrict(winSize, 4) // what the board would fault on panics
		line[0], line[1] = notify.NewPair()
		return [2]*shmem.Region{r, r}, line
	}},
	{"file and socket", func(t *testing.T) (region [2]*shmem.Region, line [2]notify.Line) {
		dir := t.TempDir()
		for i := range region {
			r, err := shmem.OpenFile(filepath.Join(dir, "window"), winSize)
			assert.NilError(t, err)
			t.Cleanup(func() { assert.NilError(t, r.Close()) })
			region[i] = r
		}
		host, err := notify.ListenUnix(filepath.Join(dir, "bell"))
		assert.NilError(t, err)
		guest, err := notify.DialUnix(filepath.Join(dir, "bell"))
		assert.NilError(t, err)
		t.Cleanup(func() { assert.NilError(t, errors.Join(host.Close(), guest.Close())) })
		return region, [2]notify.Line{host, guest}
	}},
	{"memfd and eventfds", func(t *testing.T) (region [2]*shmem.Region, line [2]notify.Line) {
		r, err := shmem.NewMemfd("window", winSize)
		assert.NilError(t, err)
		line[0], line[1], err = notify.EventfdPair()
		assert.NilError(t, err)
		t.Cleanup(func() { assert.NilError(t, errors.Join(line[0].Close(), line[1].Close(), r.Close())) })
		return [2]*shmem.Region{r, r}, line
	}},
	{"polling", func(t *testing.T) (region [2]*shmem.Region, line [2]notify.Line) {
		r := shmem.NewHeap(winSize)
		for i := range line {
			l, err := notify.NewPoll(20*time.Microsecond, time.Millisecond, nil)
			assert.NilError(t, err)
			t.Cleanup(func() { assert.NilError(t, l.Close()) })
			line[i] = l
		}
		return [2]*shmem.Region{r, r}, line
	}},
}

// Entropy and a console side by side, in every dialect, layout and place.
func TestEndToEnd(t *testing.T) {
	for _, place := range places {
		for _, layout := range []mmio.Layout{mmio.Table, mmio.Tree, mmio.Modern} {
			for _, dialect := range dialects {
				if layout == mmio.Modern && dialect != dialects[0] {
					continue // hvl-v2 has no dialects
				}
				t.Run(fmt.Sprintf("%s/%v/%v", place.name, layout, dialect), func(t *testing.T) {
					region, line := place.open(t)
					host, user := net.Pipe()
					serve(t, mmio.Options{Region: region[0], Line: line[0], Layout: layout},
						device{"rng", rng.New(rng.Options{Source: &pattern{}}), 0},
						device{"console", terminal(t, host), 0})
					w := open(t, driver.Options{Region: region[1], Line: line[1], Dialect: dialect})
					run(t, w)
					useRNG(t, w)
					useConsole(t, w, user)
				})
			}
		}
	}
}

func useRNG(t *testing.T, w *driver.Window) {
	t.Helper()
	d, err := w.Find(bounded(t), virtio.IDEntropy, 0)
	assert.NilError(t, err)
	r, err := driver.StartRNG(bounded(t), d)
	assert.NilError(t, err)
	got := make([]byte, 10000)
	_, err = io.ReadFull(r, got)
	assert.NilError(t, err)
	for i, b := range got {
		assert.Equal(t, b, byte(i)) // one reader: in order, and nothing left out
	}
	n, err := r.Read(nil)
	assert.Assert(t, n == 0 && err == nil)
}

func useConsole(t *testing.T, w *driver.Window, user net.Conn) {
	t.Helper()
	d, err := w.Find(bounded(t), virtio.IDConsole, 0)
	assert.NilError(t, err)
	c, err := driver.StartConsole(bounded(t), d)
	assert.NilError(t, err)

	said := make([]byte, 20000)
	_, _ = (&pattern{}).Read(said)
	heard := make(chan []byte)
	go func() {
		b := make([]byte, len(said))
		_, _ = io.ReadFull(user, b)
		heard <- b
	}()
	n, err := c.Write(said)
	assert.Assert(t, n == len(said) && err == nil)
	assert.Assert(t, bytes.Equal(recv(t, heard), said))

	go func() { _, _ = user.Write(said) }()
	for got := 0; got < len(said); {
		b := make([]byte, 1000)
		n, err := c.Read(b[:1+got%len(b)])
		assert.NilError(t, err)
		assert.Assert(t, bytes.Equal(b[:n], said[got:got+n]))
		got += n
	}
	n, err = c.Read(nil)
	assert.Assert(t, n == 0 && err == nil)
	n, err = c.Write(nil)
	assert.Assert(t, n == 0 && err == nil)
}

// Readers and writers end with the window.
func TestClients_End(t *testing.T) {
	region := shmem.NewHeap(winSize)
	host, guest := notify.NewPair()
	pipe, user := net.Pipe()
	defer user.Close()
	serve(t, mmio.Options{Region: region, Line: host},
		device{"rng", rng.New(rng.Options{Rate: 1}), 0}, device{"console", terminal(t, pipe), 0})
	w := open(t, driver.Options{Region: region, Line: guest})
	d, err := w.Find(bounded(t), virtio.IDEntropy, 0)
	assert.NilError(t, err)
	r, err := driver.StartRNG(bounded(t), d)
	assert.NilError(t, err)
	d, err = w.Find(bounded(t), virtio.IDConsole, 0)
	assert.NilError(t, err)
	c, err := driver.StartConsole(bounded(t), d)
	assert.NilError(t, err)
	ended := make(chan error, 3)
	go func() {
		for {
			if _, err := r.Read(make([]byte, 10)); err != nil {
				ended <- err
				return
			}
		}
	}()
	go func() { _, err := c.Read(make([]byte, 10)); ended <- err }()
	go func() { _, err := c.Write(make([]byte, 10)); ended <- err }()
	time.AfterFunc(10*time.Millisecond, func() { _ = w.Close() })
	for range cap(ended) {
		assert.Assert(t, errors.Is(recv(t, ended), driver.ErrClosed))
	}
	_, err = c.Read(make([]byte, 10))
	assert.ErrorContains(t, err, "driver: console in slot 1: queue 0: window closed")
	_, err = c.Write(make([]byte, 10))
	assert.ErrorContains(t, err, "driver: console in slot 1: queue 1: window closed")
	_, err = r.Read(make([]byte, 10))
	assert.ErrorContains(t, err, "driver: rng in slot 0: queue 0: window closed")
}

// The size of the console's window changes under the driver, which is told.
func TestConsole_Size(t *testing.T) {
	// A configuration that is read while it is written has a generation, and the race detector knows none.
	region, err := shmem.NewMemfd("window", winSize)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, region.Close()) })
	host, guest := notify.NewPair()
	backend := terminal(t, newSink()).(*console.Device)
	backend.Resize(0, 80, 24)
	serve(t, mmio.Options{Region: region, Line: host, ConfigInterrupt: true}, device{"console", backend, 0})
	boot := func() *driver.Device {
		d, err := open(t, driver.Options{Region: region, Line: guest}).Find(bounded(t), virtio.IDConsole, 0)
		assert.NilError(t, err)
		return d
	}
	c, err := driver.StartConsole(bounded(t), boot())
	assert.NilError(t, err)
	cols, rows, err := c.Size()
	assert.NilError(t, err)
	assert.Assert(t, cols == 80 && rows == 24, "%dx%d", cols, rows)

	told := make(chan struct{}, 1)
	d := boot()
	run(t, d.Window())
	assert.NilError(t, d.Start(bounded(t), driver.Config{
		Sizes: []uint16{0, 0}, Features: virtio.FeatureSet(console.FeatureSize), ConfigChanged: func() {
			select {
			case told <- struct{}{}:
			default: // nobody has come round to the one before
			}
		},
	}))
	n, err := d.Queue(1).Do(bounded(t), []byte("live"), nil) // a device need not tell before
	assert.Assert(t, n == 0 && err == nil)
	recv(t, told) // the size to begin with
	backend.Resize(0, 100, 30)
	for size := make([]byte, 4); string(size) != "\x64\x00\x1e\x00"; {
		recv(t, told) // it may be told more often than it changes
		assert.NilError(t, d.ReadConfig(size, 0))
	}
}

// A device that answers without a byte does not spin its reader.
func TestRNG_NoBytes(t *testing.T) {
	f := newFake(t, 4)
	d := f.find(driver.Options{}, virtio.IDEntropy)
	ctx := bounded(t)
	go func() {
		for f.mem.Load32(atPFN) != winAddr/4096+1 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		f.mem.Store32(atPFN, ackWord)
	}()
	r, err := driver.StartRNG(ctx, d)
	assert.NilError(t, err)
	dev := f.ring(0, 128)
	dev.use(0, 0)
	dev.show(0)
	f.mem.Store32(atIS, 1)
	done := make(chan error, 1)
	go func() { _, err := r.Read(make([]byte, 10)); done <- err }()
	for dev.availIdx() == 0 {
		time.Sleep(time.Millisecond)
	}
	f.line.Wake()
	assert.Assert(t, errors.Is(recv(t, done), io.ErrNoProgress))
}

// The memory vanishes under the driver: everything fails, nothing crashes.
func TestWindow_Vanishes(t *testing.T) {
	if emulator.Here() {
		t.Skip("QEMU's user mode hands on a SIGBUS without its address, which Go takes for a nil dereference")
	}
	for _, what := range []string{"submit", "interrupt", "config", "probe", "boot"} {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "window")
			region, err := shmem.OpenFile(path, winSize)
			assert.NilError(t, err)
			defer region.Close()
			f := newFakeIn(t, region, 4, 3)
			d := f.live(driver.Options{}, driver.Config{Sizes: []uint16{4}})
			other, err := d.Window().Find(bounded(t), virtio.IDConsole, 0)
			assert.NilError(t, err)
			r := &driver.Request{In: make([]byte, 1)}
			_, err = d.Queue(0).Submit(r)
			assert.NilError(t, err)
			assert.NilError(t, os.Truncate(path, 0))

			var fault *shmem.FaultError
			switch what {
			case "submit":
				_, err = d.Queue(0).Submit(&driver.Request{Out: []byte("a")})
				assert.Assert(t, errors.As(err, &fault))
				err = r.Wait(bounded(t))
			case "interrupt":
				f.line.Wake()
				err = r.Wait(bounded(t))
			case "config":
				err = d.ReadConfig(make([]byte, 1), 0)
			case "probe":
				_, err = d.Window().Probe(bounded(t))
			case "boot":
				_, err = other.Boot(driver.Config{Sizes: []uint16{4}})
			}
			assert.Assert(t, errors.As(err, &fault), "%v", err)
		})
	}
}

// A front-end dies after any step of its bring-up, or with a request in flight; the next one,
// with fresh or stale rings, is served.
func TestRestart_AnyStep(t *testing.T) {
	for _, dialect := range dialects {
		for _, noLoad := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/noload=%v", dialect, noLoad), func(t *testing.T) {
				region := shmem.NewHeap(winSize)
				host, guest := notify.NewPair()
				serve(t, mmio.Options{Region: region, Line: host}, device{"echo", &echo{queues: 2, inOrder: true}, 0})
				boot := func() (*driver.Device, []driver.Step) {
					w := open(t, driver.Options{Region: region, Line: guest, Dialect: dialect, NoLoad: noLoad})
					d, err := w.Find(bounded(t), virtio.IDEntropy, 0)
					assert.NilError(t, err)
					steps, err := d.Boot(driver.Config{Sizes: []uint16{4, 8}})
					assert.NilError(t, err)
					return d, steps
				}
				for crash := 0; ; crash++ {
					d, steps := boot()
					for _, s := range steps[:min(crash, len(steps))] {
						assert.NilError(t, s.Do(bounded(t)), s.Name)
					}
					if crash > len(steps) { // dies live, with requests in flight
						for i := range 2 {
							_, err := d.Queue(i).Submit(&driver.Request{Out: []byte("lost"), In: make([]byte, 4)})
							assert.NilError(t, err)
						}
					}

					d, steps = boot()
					for _, s := range steps {
						assert.NilError(t, s.Do(bounded(t)), s.Name)
					}
					for i := range 4 {
						in := make([]byte, 4)
						n, err := d.Queue(i%2).Do(bounded(t), []byte("pong"), in)
						assert.NilError(t, err, "after a crash at step %d", crash)
						assert.Equal(t, string(in[:n]), "pong")
					}
					if crash > len(steps) {
						break
					}
				}
			})
		}
	}
}

// A context that is over ends a bring-up that nobody answers.
func TestStart_Canceled(t *testing.T) {
	d := newFake(t, 4).find(driver.Options{Dialect: driver.Zephyr2021}, virtio.IDEntropy)
	done := make(chan error, 1)
	go func() { done <- d.Start(canceled(), driver.Config{Sizes: []uint16{4}}) }()
	assert.Assert(t, errors.Is(recv(t, done), context.Canceled))
}
