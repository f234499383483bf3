package driver

import (
	"context"
	"encoding/binary"
	"io"
	"sync"

	"github.com/hypervisorless/virtio/virtio"
)

// Console is port 0 of a console device (5.3) without MULTIPORT. One goroutine may read and one
// may write at the same time.
type Console struct {
	d      *Device
	rx, tx *Queue
	chunk  int // bytes of a buffer

	current *Request // being read from, the reader's
	off     int      // into it

	mu    sync.Mutex
	input []*Request // filled by the device, in order
	sleep bool       // the reader waits for more
	more  waiter
}

var _ io.ReadWriter = (*Console)(nil)

const (
	consoleSize virtio.Feature = 0 // VIRTIO_CONSOLE_F_SIZE: cols and rows are valid

	consoleInputs = 8        // buffers offered for input, at most
	bigChunk      = 4096     // of a buffer
	smallChunk    = 512      // the same where the device's memory is a few pages
	bigPool       = 64 << 10 // from here on memory is more than that
)

// StartConsole brings up a console device and offers it buffers for input.
func StartConsole(ctx context.Context, d *Device) (*Console, error) {
	c := &Console{d: d, chunk: smallChunk}
	if d.pool.n*unit >= bigPool {
		c.chunk = bigChunk
	}
	err := d.Start(ctx, Config{Sizes: []uint16{0, 0}, Features: virtio.FeatureSet(consoleSize)})
	if err != nil {
		return nil, err
	}
	c.rx, c.tx = d.Queue(0), d.Queue(1)
	inputs := make([]*Request, min(consoleInputs, c.rx.Size()))
	if c.chunk == smallChunk {
		inputs = inputs[:min(len(inputs), consoleInputs/2)]
	}
	for i := range inputs {
		b, err := d.Alloc(c.chunk)
		if err != nil {
			return nil, err
		}
		inputs[i] = &Request{InBuffer: b, Done: c.filled}
	}
	if _, err := c.rx.Submit(inputs...); err != nil {
		return nil, err
	}
	return c, nil
}

// filled is called with each buffer that the device has filled.
func (c *Console) filled(r *Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.input = append(c.input, r)
	if c.sleep {
		c.sleep = false
		c.more.wake(c.d.w.opts.Line)
	}
}

// next is the next filled buffer, or nil; then the reader is to wait for c.more.
func (c *Console) next() *Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.input) == 0 {
		c.sleep = true
		c.more.reset()
		return nil
	}
	r := c.input[0]
	c.input = c.input[:copy(c.input, c.input[1:])]
	return r
}

// Read returns input as it comes, at least one byte. It ends with an error when the Window is
// closed.
func (c *Console) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for c.current == nil || c.off == c.current.N {
		if r := c.current; r != nil {
			if r.Err != nil {
				return 0, r.Err
			}
			if _, err := c.rx.Submit(r); err != nil {
				return 0, err
			}
		}
		for c.current, c.off = c.next(), 0; c.current == nil; c.current = c.next() {
			_ = c.d.w.wait(context.Background(), &c.more) // cannot end
		}
	}
	n := min(len(p), c.current.N-c.off)
	err := c.d.w.guarded(func() error {
		c.current.InBuffer.ReadAt(p[:n], c.off)
		return nil
	})
	if err != nil {
		return 0, c.rx.named(err)
	}
	c.off += n
	return n, nil
}

// Write returns when the device has taken all of p.
func (c *Console) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(n+c.chunk, len(p))]
		if _, err := c.tx.Do(context.Background(), part, nil); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// Size is the console's size in characters now, both 0 where the device does not say.
func (c *Console) Size() (cols, rows int, err error) {
	if !c.d.Negotiated().Has(consoleSize) {
		return 0, 0, nil
	}
	var b [4]byte
	if err := c.d.ReadConfig(b[:], 0); err != nil {
		return 0, 0, err
	}
	return int(binary.LittleEndian.Uint16(b[:])), int(binary.LittleEndian.Uint16(b[2:])), nil
}
