package driver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
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
						for i := range 100 {
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

// Many goroutines on one small queue: each gets its own answer, and those that find it full wait
// for their turn.
func TestDo_ManyGoroutines(t *testing.T) {
	for _, spin := range []time.Duration{0, 50 * time.Microsecond} {
		for _, runs := range []bool{false, true} {
			for _, size := range []uint16{2, 8, 64} {
				t.Run(fmt.Sprintf("spin=%v/run=%v/size=%d", spin, runs, size), func(t *testing.T) {
					d := linked(t, &echo{queues: 1}, driver.Options{Spin: spin}, size)
					if runs {
						run(t, d.Window())
					}
					ctx := bounded(t)
					var all sync.WaitGroup
					for g := range 16 {
						all.Go(func() {
							out, in := make([]byte, 8), make([]byte, 8)
							for i := range 100 {
								binary.LittleEndian.PutUint64(out, uint64(g)<<32|uint64(i))
								n, err := d.Queue(0).Do(ctx, out, in)
								if err != nil || n != 8 || !bytes.Equal(in, out) {
									t.Errorf("goroutine %d, request %d: %d bytes %x, error %v", g, i, n, in, err)
									return
								}
							}
						})
					}
					all.Wait()
				})
			}
		}
	}
}

// Completions are delivered one at a time, in the order of the device, however many goroutines
// look at the ring.
func TestSubmit_Order(t *testing.T) {
	const total = 3000
	d := linked(t, &echo{queues: 1}, driver.Options{Spin: time.Millisecond}, 64)
	run(t, d.Window())
	q := d.Queue(0)
	ctx, stop := context.WithCancel(context.Background())
	var spinners sync.WaitGroup
	for range 3 {
		spinners.Go(func() {
			for ctx.Err() == nil {
				if _, err := q.Do(context.Background(), []byte("x"), make([]byte, 1)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var got []uint32
	over := make(chan struct{})
	for i := range total {
		r := &driver.Request{Out: binary.LittleEndian.AppendUint32(nil, uint32(i)), In: make([]byte, 4)}
		r.Done = func(r *driver.Request) {
			got = append(got, binary.LittleEndian.Uint32(r.In))
			runtime.Gosched() // whoever looks meanwhile must not deliver what comes next
			if len(got) == total {
				close(over)
			}
		}
		for {
			_, err := q.Submit(r)
			if err == nil {
				break
			}
			assert.Equal(t, err, driver.ErrFull)
			runtime.Gosched()
		}
	}
	recv(t, over)
	stop()
	spinners.Wait()
	for i, v := range got {
		assert.Equal(t, v, uint32(i))
	}
}

// One doorbell tells of all requests of a Submit, and none is rung for a device that does not
// want it; Zephyr's driver of 2021 rings all the same.
func TestSubmit_Kicks(t *testing.T) {
	for _, dialect := range dialects {
		f := newFake(t, 4)
		q := f.live(driver.Options{Dialect: dialect}, driver.Config{Sizes: []uint16{8}}).Queue(0)
		dev := f.ring(0, 8)
		rings := func() int64 {
			before := f.line.rung.Load()
			f.mem.Store32(atNotify, 99)
			n, err := q.Submit(&driver.Request{Out: []byte("a")}, &driver.Request{Out: []byte("b")})
			assert.NilError(t, err)
			assert.Equal(t, n, 2)
			rung := f.line.rung.Load() - before
			assert.Equal(t, f.mem.Load32(atNotify) == 0, rung > 0, "QueueNotify goes with the ring")
			return rung
		}
		assert.Equal(t, rings(), int64(1))
		dev.show(1)
		quiet := rings()
		assert.Equal(t, quiet == 1, dialect == driver.Zephyr2021, dialect)
		assert.Equal(t, dev.availIdx(), uint16(4))
	}
}

// What cannot be submitted leaves no trace: neither descriptors nor memory.
func TestSubmit_Refuses(t *testing.T) {
	f := newFake(t, 4)
	d := f.live(driver.Options{}, driver.Config{Sizes: []uint16{4}})
	q := d.Queue(0)
	big := winSize / 2
	flying := &driver.Request{Out: []byte("a")} // until somebody has waited for it
	n, err := q.Submit(flying, flying)
	assert.Equal(t, n, 1)
	assert.Assert(t, errors.Is(err, driver.ErrBusy))
	for range 3 {
		n, err = q.Submit(&driver.Request{})
		assert.Assert(t, n == 0 && errors.Is(err, driver.ErrEmpty))
		n, err = q.Submit(&driver.Request{Out: make([]byte, big), In: make([]byte, big)})
		assert.Assert(t, n == 0 && errors.Is(err, driver.ErrNoMemory))
	}
	n, err = q.Submit(
		&driver.Request{Out: make([]byte, big)},
		&driver.Request{Out: []byte("a"), In: make([]byte, 1)},
		&driver.Request{Out: []byte("a"), In: make([]byte, 1)})
	assert.Assert(t, n == 2 && err == driver.ErrFull)
	assert.Equal(t, f.ring(0, 4).availIdx(), uint16(3))

	_, err = f.open(driver.Options{}).Find(bounded(t), virtio.IDEntropy, 0)
	assert.NilError(t, err)
	early := f.find(driver.Options{}, virtio.IDEntropy)
	_, err = early.Boot(driver.Config{Sizes: []uint16{4}})
	assert.NilError(t, err)
	_, err = early.Queue(0).Submit(&driver.Request{Out: []byte("a")})
	assert.ErrorContains(t, err, "driver: rng in slot 0: queue 0: device is not live")
	assert.Assert(t, early.Queue(1) == nil && early.Queue(-1) == nil)
}

// A waiter that gives up gets its buffer back at once: a late answer goes nowhere. The queue's
// descriptors and memory come back with it.
func TestDo_GivesUp(t *testing.T) {
	for _, spin := range []time.Duration{0, time.Microsecond} {
		e := &echo{queues: 1, hold: make(chan struct{}, 100)}
		d := linked(t, e, driver.Options{Spin: spin}, 2)
		ctx, cancel := context.WithCancel(context.Background())
		in := make([]byte, 4)
		both := make(chan error, 2)
		go func() {
			_, err := d.Queue(0).Do(ctx, []byte("late"), in)
			both <- err
		}()
		second := make([]byte, 4)
		go func() { // waits for room behind the first
			_, err := d.Queue(0).Do(ctx, []byte("last"), second)
			both <- err
		}()
		cancel()
		assert.Assert(t, errors.Is(recv(t, both), context.Canceled))
		assert.Assert(t, errors.Is(recv(t, both), context.Canceled))
		for range cap(e.hold) {
			e.hold <- struct{}{}
		}
		for range 20 {
			n, err := d.Queue(0).Do(bounded(t), []byte("next"), make([]byte, 4))
			assert.Assert(t, n == 4 && err == nil)
		}
		assert.DeepEqual(t, in, make([]byte, 4))
		assert.DeepEqual(t, second, make([]byte, 4))
	}
}

// Wait is given up and taken up again; a request that is not in flight is not waited for.
func TestWait(t *testing.T) {
	e := &echo{queues: 1, hold: make(chan struct{}, 1)}
	d := linked(t, e, driver.Options{})
	r := &driver.Request{Out: []byte("abc"), In: make([]byte, 3)}
	assert.NilError(t, r.Wait(bounded(t)))
	for range 3 {
		_, err := d.Queue(0).Submit(r)
		assert.NilError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		assert.Assert(t, errors.Is(r.Wait(ctx), context.DeadlineExceeded))
		cancel()
		e.hold <- struct{}{}
		assert.NilError(t, r.Wait(bounded(t)))
		assert.NilError(t, r.Wait(bounded(t)))
		assert.Equal(t, string(r.In[:r.N]), "abc")
	}
}

// Buffers of the window are used where they are.
func TestSubmit_Buffers(t *testing.T) {
	f := newFake(t, 4)
	d := f.live(driver.Options{}, driver.Config{Sizes: []uint16{4}})
	out, err := d.Alloc(100)
	assert.NilError(t, err)
	in, err := d.Alloc(50)
	assert.NilError(t, err)
	r := &driver.Request{OutBuffer: out.Slice(10, 20), InBuffer: in}
	_, err = d.Queue(0).Submit(r)
	assert.NilError(t, err)
	dev := f.ring(0, 4)
	addr, n, _, next := dev.desc(dev.head(0))
	assert.Assert(t, addr == out.Addr+10 && n == 20)
	addr, n, _, _ = dev.desc(next)
	assert.Assert(t, addr == in.Addr && n == 50)
	dev.use(uint32(dev.head(0)), 7)
	dev.show(0)
	f.interrupt()
	assert.NilError(t, r.Wait(bounded(t)))
	assert.Equal(t, r.N, 7)
	p, ok := in.Bytes()
	assert.Assert(t, ok && len(p) == 50)
	out.Free()
	in.Free()
}

// A device that lies costs the request, or the queue with all that is in flight on it, and
// nothing hangs.
func TestQueue_Liars(t *testing.T) {
	for _, tt := range []struct {
		name string
		lie  func(*usedRing)
		want [2]error
	}{
		{"length", func(r *usedRing) { r.use(0, 1000); r.use(1, 2) }, [2]error{driver.ErrUsedLength, nil}},
		{"id", func(r *usedRing) { r.use(77, 1) }, [2]error{driver.ErrUsedID, driver.ErrUsedID}},
		{"good, then id", func(r *usedRing) { r.use(0, 2); r.use(0, 2) }, [2]error{nil, driver.ErrUsedID}},
		{"index", func(r *usedRing) { r.idx = 9 }, [2]error{driver.ErrUsedIndex, driver.ErrUsedIndex}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, 4)
			q := f.live(driver.Options{}, driver.Config{Sizes: []uint16{4}}).Queue(0)
			requests := []*driver.Request{{In: make([]byte, 2)}, {In: make([]byte, 2)}}
			_, err := q.Submit(requests...)
			assert.NilError(t, err)
			dev := f.ring(0, 4)
			tt.lie(dev)
			dev.show(0)
			f.interrupt()
			ended := false
			for i, r := range requests {
				err := r.Wait(bounded(t))
				assert.Assert(t, errors.Is(err, tt.want[i]), "%d: %v", i, err)
				if err != nil {
					assert.ErrorContains(t, err, "driver: rng in slot 0: queue 0")
				}
				ended = ended || err != nil && !errors.Is(err, driver.ErrUsedLength)
			}
			_, err = q.Do(canceled(), []byte("x"), nil)
			assert.Equal(t, errors.Is(err, context.Canceled), !ended, "%v", err)
		})
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Close and a lost doorbell fail what is in flight, what waits for room, and what comes later.
func TestWindow_End(t *testing.T) {
	for _, runs := range []bool{false, true} {
		for name, end := range map[string]func(*driver.Window, *fake){
			"closed": func(w *driver.Window, _ *fake) { _ = w.Close() },
			"lost":   func(_ *driver.Window, f *fake) { f.line.lose() },
		} {
			t.Run(fmt.Sprintf("%s/run=%v", name, runs), func(t *testing.T) {
				f := newFake(t, 4, 3)
				d := f.live(driver.Options{}, driver.Config{Sizes: []uint16{2}})
				other, err := d.Window().Find(bounded(t), virtio.IDConsole, 0)
				assert.NilError(t, err)
				ran := make(chan error, 1)
				if runs {
					go func() { ran <- d.Window().Run(context.Background()) }()
				}
				want := driver.ErrClosed
				if name == "lost" {
					want = errLost
				}
				called := make(chan error, 1)
				_, err = d.Queue(0).Submit(&driver.Request{Out: []byte("a"), Done: func(r *driver.Request) { called <- r.Err }})
				assert.NilError(t, err)
				const waiters = 4 // one in flight, the others in line
				ended := make(chan error, waiters)
				for range waiters {
					go func() {
						_, err := d.Queue(0).Do(context.Background(), []byte("b"), nil)
						ended <- err
					}()
				}
				for f.ring(0, 2).availIdx() != 2 {
					runtime.Gosched()
				}
				end(d.Window(), f)
				for range waiters {
					assert.Assert(t, errors.Is(recv(t, ended), want))
				}
				assert.Assert(t, errors.Is(recv(t, called), want))
				if runs {
					assert.Assert(t, errors.Is(recv(t, ran), want))
				}
				_, err = d.Queue(0).Submit(&driver.Request{Out: []byte("a")})
				assert.Assert(t, errors.Is(err, want))
				_, err = d.Window().Probe(bounded(t))
				assert.Assert(t, errors.Is(err, want))
				_, err = other.Boot(driver.Config{Sizes: []uint16{2}})
				assert.Assert(t, errors.Is(err, want))
			})
		}
	}
}

// Run ends with its context and leaves the window usable.
func TestRun_Ends(t *testing.T) {
	d := linked(t, &echo{queues: 1}, driver.Options{})
	for range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- d.Window().Run(ctx) }()
		_, err := d.Queue(0).Do(bounded(t), []byte("a"), nil)
		assert.NilError(t, err)
		cancel()
		assert.NilError(t, recv(t, done))
		_, err = d.Queue(0).Do(bounded(t), []byte("a"), nil)
		assert.NilError(t, err)
	}
}
