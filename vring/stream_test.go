package vring_test

import (
	"flag"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// The defaults are those of the kernel's ringtest, which scripts/bench-ring runs beside this.
var (
	streamRing        = flag.Int("stream.ring", 256, "BenchmarkStream: entries of the ring")
	streamOutstanding = flag.Int("stream.outstanding", 0, "BenchmarkStream: chains in flight at most; 0 is as many as the ring has entries")
)

// BenchmarkStream sends messages of one descriptor through a ring, driver and device each
// spinning on a CPU of its own, and neither asking for notifications. As in ringtest, the
// device looks at the descriptor but not at the bytes.
func BenchmarkStream(b *testing.B) {
	for _, bb := range []struct {
		name  string
		serve func(q *vring.Queue, n int)
	}{
		{"show", streamShow}, // what ringtest does
		{"publish", func(q *vring.Queue, n int) { streamPublish(q, n, 1) }},
		{"batch", func(q *vring.Queue, n int) { streamPublish(q, n, 32) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			region, err := shmem.NewMemfd("stream", 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			defer region.Close()
			m := vringtest.NewMemory(region, 0x4000_0000)
			size := uint16(*streamRing)
			r := m.NewRing(m.Legacy(size, 4096))
			r.SetAvailFlags(vring.AvailNoInterrupt)
			q := newQueue(b, m, r, vring.Config{})
			d := newStreamDriver(m, r, *streamOutstanding)

			var ready, done sync.WaitGroup
			start := make(chan struct{})
			ready.Add(2)
			done.Add(2)
			side := func(cpu int, run func(n int)) {
				runtime.LockOSThread() // for good: the thread ends with its affinity
				pin(b, cpu)
				ready.Done()
				<-start
				run(b.N)
				done.Done()
			}
			go side(0, func(n int) { bb.serve(q, n) })
			go side(1, d.run)
			ready.Wait()
			b.ReportAllocs()
			b.ResetTimer()
			close(start)
			done.Wait()
		})
	}
}

// streamShow lets the driver see every chain at once, and asks what the driver wants when
// there is nothing else to do.
func streamShow(q *vring.Queue, n int) {
	var c vring.Chain
	for n > 0 {
		ok, err := q.Pop(&c)
		if ok {
			q.Push(&c)
			err = q.Show()
			n--
		} else if err == nil {
			_, err = q.Publish()
		}
		if err != nil {
			panic(err)
		}
	}
}

// streamPublish asks after every batch of chains.
func streamPublish(q *vring.Queue, n, batch int) {
	var c vring.Chain
	for n > 0 {
		ok, err := q.Pop(&c)
		if ok {
			q.Push(&c)
			n--
		}
		if err == nil && (q.Pending() >= batch || !ok || n == 0) {
			_, err = q.Publish()
		}
		if err != nil {
			panic(err)
		}
	}
}

// streamDriver is the least a driver can do: a list of free descriptors, a token for each one
// in flight, indexes of its own.
type streamDriver struct {
	desc, avail, used shmem.Span
	buffer            uint64
	mask              uint16
	outstanding       int

	free   []uint16 // stack of free heads
	tokens []uint32
	next   uint16
	taken  uint16
}

func newStreamDriver(m *vringtest.Memory, r *vringtest.Ring, outstanding int) *streamDriver {
	if outstanding == 0 {
		outstanding = int(r.Size)
	}
	d := &streamDriver{
		desc:  m.Span(r.Desc, r.DescBytes()),
		avail: m.Span(r.Avail, r.AvailBytes()),
		used:  m.Span(r.Layout.Used, r.UsedBytes()),

		buffer: m.Alloc(64, 64), mask: r.Size - 1, outstanding: outstanding,
		tokens: make([]uint32, r.Size),
	}
	for i := range r.Size {
		d.free = append(d.free, r.Size-1-i)
	}
	return d
}

// run sends n messages and takes them all back, in the order of ringtest's guest: send one,
// take one.
func (d *streamDriver) run(n int) {
	for started, completed := 0, 0; completed < n; {
		if started < n && started-completed < d.outstanding && len(d.free) > 0 {
			d.send(uint32(started))
			started++
		}
		if d.take() {
			completed++
		}
	}
}

func (d *streamDriver) send(token uint32) {
	head := d.free[len(d.free)-1]
	d.free = d.free[:len(d.free)-1]
	d.tokens[head] = token | 1<<31
	d.desc.Store64Plain(16*uint64(head), d.buffer)
	d.desc.Store64Plain(16*uint64(head)+8, 64)
	d.avail.Store16Plain(4+2*uint64(d.next&d.mask), head)
	d.next++
	releaseIdx(d.avail, d.next)
}

func (d *streamDriver) take() bool {
	if d.used.Load16(2) == d.taken {
		return false
	}
	head := d.used.Load32(4 + 8*uint64(d.taken&d.mask))
	if d.tokens[head] == 0 {
		panic("a head came back twice")
	}
	d.tokens[head] = 0
	d.free = append(d.free, uint16(head))
	d.taken++
	return true
}

// pin ties the calling thread to one of the CPUs it may use.
func pin(tb testing.TB, i int) {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		tb.Errorf("affinity: %v", err)
		return
	}
	for cpu := range 1024 {
		if !allowed.IsSet(cpu) {
			continue
		}
		if i == 0 {
			one.Set(cpu)
			break
		}
		i--
	}
	if one.Count() == 0 {
		return // one CPU alone: the scheduler takes turns
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		tb.Errorf("affinity: %v", err)
	}
}
