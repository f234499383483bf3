package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
)

// Options describes a window and how this front-end behaves in it.
type Options struct {
	Region  *shmem.Region // the window, mapped; stays the caller's
	Addr    uint64        // the driver's address of its first byte
	Line    notify.Line   // the doorbell; this side is the one that waits on it; stays the caller's
	Dialect Dialect
	// NoLoad leaves the rings as they are at the start of a boot, as images do whose rings lie in
	// a section that is not loaded.
	NoLoad bool
	// Spin is how long a waiter watches the ring itself before it sleeps until the doorbell.
	// Meanwhile the device is told not to interrupt. 0 is not at all.
	Spin time.Duration
}

// Window is a front-end's view of one window: its devices, its buffers and its doorbell. All
// methods are safe for concurrent use.
type Window struct {
	opts  Options
	space *shmem.Space
	all   shmem.Span
	busy  func() // set for a line without a signal: tells it that a look found work
	guard bool   // the memory can vanish
	pump  chan struct{}

	mu      sync.Mutex
	pool    *pool     // shared by all devices; nil in the DTB layout
	known   []*Device // found so far
	layout  uint32    // LayoutEpoch of the directory; 0: none was found
	booted  []*Device // the ones an interrupt looks at
	rung    chan struct{}
	waiting int // for rung
	err     error
}

// pageSize is what every deployed front-end writes as GuestPageSize and QueueAlign.
const pageSize = 4096

// Open makes a Window. It does not look at the memory yet. A front-end that boots again, after a
// failure or for a test, is another Window on the same memory; only one at a time may wait on a
// doorbell, so close the other first.
func Open(o Options) (*Window, error) {
	if o.Region == nil || o.Line == nil {
		return nil, errors.New("driver: a window needs a region and a doorbell")
	}
	if int(o.Dialect) >= len(dialectNames) {
		return nil, fmt.Errorf("driver: no such dialect: %v", o.Dialect)
	}
	if o.Addr%pageSize != 0 {
		return nil, fmt.Errorf("driver: window at %#x: the address must be a multiple of %d", o.Addr, pageSize)
	}
	space, err := shmem.NewSpace(shmem.Window{Addr: o.Addr, Region: o.Region})
	if err != nil {
		return nil, fmt.Errorf("driver: %w", err)
	}
	all, err := space.Span(o.Addr, o.Region.Size())
	if err != nil {
		return nil, fmt.Errorf("driver: %w", err)
	}
	w := &Window{
		opts: o, space: space, all: all, guard: !space.Sealed(),
		pump: make(chan struct{}, 1), rung: make(chan struct{}),
	}
	if a, ok := o.Line.(notify.Adaptive); ok {
		w.busy = a.Busy
	}
	return w, nil
}

// Run serves the doorbell until ctx ends (nil), the Window is closed, or the doorbell or the
// memory is lost; with an error all requests fail. It is needed only for requests whose
// completion nobody waits for, and spares the waiters a doorbell each.
func (w *Window) Run(ctx context.Context) error {
	select {
	case w.pump <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	defer func() { <-w.pump }()
	defer context.AfterFunc(ctx, w.opts.Line.Wake)()
	for ctx.Err() == nil {
		if err := w.listen(); err != nil {
			return fmt.Errorf("driver: %w", err)
		}
	}
	return nil
}

// Close fails all requests with ErrClosed and ends Run. The device still sees the driver as
// live: this is how a front-end goes away, its next boot is what the device recognises.
func (w *Window) Close() error {
	w.fail(ErrClosed)
	w.opts.Line.Wake()
	return nil
}

// Alloc takes n bytes of the memory that all devices share. In the DTB layout there is none:
// use Device.Alloc, which does the right thing in either.
func (w *Window) Alloc(n int) (Buffer, error) {
	return alloc(w.shared(), n)
}

// shared is the memory of all devices.
func (w *Window) shared() *pool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pool
}

func alloc(p *pool, n int) (Buffer, error) {
	if p == nil || n <= 0 {
		return Buffer{}, fmt.Errorf("driver: buffer of %d bytes: %w", n, ErrNoMemory)
	}
	b, err := p.alloc(uint64(n), unit)
	if err != nil {
		return Buffer{}, fmt.Errorf("driver: buffer of %d bytes: %w", n, err)
	}
	return b, nil
}
