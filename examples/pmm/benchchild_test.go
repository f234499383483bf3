package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// job is what the front-end process of a benchmark is to do.
type job struct {
	Workload             workload
	N                    int
	Spin                 time.Duration
	Window, Bell, Status string
}

// warmUp is how many requests come before those that are measured.
const warmUp = 1000

// benchChild is the front-end process of BenchmarkTwoProcess.
func benchChild(args []string) {
	var j job
	must(json.Unmarshal([]byte(args[0]), &j))
	region, err := shmem.OpenFile(j.Window, roomSize)
	must(err)
	socket, err := notify.DialUnix(j.Bell)
	must(err)
	line := &counted{Line: socket}
	w, err := driver.Open(driver.Options{Region: region, Addr: roomAddr, Line: line, Spin: j.Spin})
	must(err)
	ctx, cancel := context.WithTimeout(context.Background(), watchdog)
	defer cancel()
	id, queues, queue := virtio.IDEntropy, 1, 0
	if j.Workload.Console {
		id, queues, queue = virtio.IDConsole, 2, 1
	}
	d, err := w.Find(ctx, id, 0)
	must(err)
	sizes := make([]uint16, queues)
	sizes[queue] = uint16(j.Workload.Ring)
	must(d.Start(ctx, driver.Config{Sizes: sizes}))

	load := loadSync
	switch {
	case j.Workload.Depth == 1:
	case j.Spin > 0: // only Do watches the ring
		load = loadMany
	default:
		load = loadDeep
		go w.Run(context.Background())
	}
	samples := make([]time.Duration, max(j.N, warmUp))
	load(d.Queue(queue), j.Workload, samples[:warmUp])
	before, in := line.rung.Load(), notified(j.Status, id, queue)
	began := time.Now()
	load(d.Queue(queue), j.Workload, samples[:j.N])
	f := newFigures(time.Since(began), samples[:j.N])
	f.Out = float64(line.rung.Load()-before) / float64(j.N)
	f.In = float64(notified(j.Status, id, queue)-in) / float64(j.N)
	must(json.NewEncoder(os.Stdout).Encode(f))
}

// counted counts the rings of this side.
type counted struct {
	notify.Line
	rung atomic.Int64
}

func (c *counted) Raise() error {
	c.rung.Add(1)
	return c.Line.Raise()
}

// notified asks the monitor how often it rang for a queue.
func notified(status string, id virtio.DeviceID, queue int) int64 {
	r, err := askStatus(status)
	must(err)
	for _, d := range r.Devices {
		if d.Type == id.String() {
			return int64(d.Queues[queue].Notified)
		}
	}
	panic("no such device")
}

// loadSync does one request after the other.
func loadSync(q *driver.Queue, w workload, samples []time.Duration) {
	out, in := buffers(w)
	last := time.Now()
	for i := range samples {
		_, err := q.Do(context.Background(), out, in)
		must(err)
		now := time.Now()
		samples[i] = now.Sub(last)
		last = now
	}
}

func buffers(w workload) (out, in []byte) {
	if w.Console {
		return make([]byte, w.Bytes), nil
	}
	return nil, make([]byte, w.Bytes)
}

// loadMany has as many goroutines do one request after the other as there are to be in flight.
func loadMany(q *driver.Queue, w workload, samples []time.Duration) {
	var all sync.WaitGroup
	for i := range w.Depth {
		part := samples[i*len(samples)/w.Depth : (i+1)*len(samples)/w.Depth]
		all.Go(func() { loadSync(q, w, part) })
	}
	all.Wait()
}

// loadDeep keeps a number of requests in flight.
func loadDeep(q *driver.Queue, w workload, samples []time.Duration) {
	type flight struct {
		driver.Request
		since time.Time
	}
	flights := make([]flight, min(w.Depth, len(samples)))
	submitted, completed, over := len(flights), 0, make(chan struct{})
	requests := make([]*driver.Request, len(flights))
	for i := range flights {
		f := &flights[i]
		f.Out, f.In = buffers(w)
		// Completions come one at a time.
		f.Done = func(r *driver.Request) {
			must(r.Err)
			now := time.Now()
			samples[completed] = now.Sub(f.since)
			if completed++; completed == len(samples) {
				close(over)
			}
			if submitted < len(samples) {
				submitted++
				f.since = now
				_, err := q.Submit(r)
				must(err)
			}
		}
		requests[i] = &f.Request
		f.since = time.Now()
	}
	_, err := q.Submit(requests...)
	must(err)
	<-over
}

func newFigures(elapsed time.Duration, samples []time.Duration) figures {
	slices.Sort(samples)
	return figures{
		Elapsed: elapsed,
		P50:     samples[len(samples)/2],
		P99:     samples[len(samples)*99/100],
	}
}

// must ends a child process.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
