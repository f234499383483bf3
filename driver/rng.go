package driver

import (
	"context"
	"errors"
	"io"
	"sync"
)

// RNG is an entropy device (5.4). Safe for concurrent use.
type RNG struct {
	d *Device

	mu sync.Mutex
	q  *Queue
}

var _ io.Reader = (*RNG)(nil)

const (
	rngChunk    = 4096 // the most that is asked for at once
	rngRestarts = 3    // of the device in one Read
)

// StartRNG brings up an entropy device.
func StartRNG(ctx context.Context, d *Device) (*RNG, error) {
	r := &RNG{d: d}
	if err := r.restart(ctx, nil); err != nil {
		return nil, err
	}
	return r, nil
}

// restart brings the device up unless somebody has done so since it served failed.
func (r *RNG) restart(ctx context.Context, failed *Queue) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.q != failed {
		return nil
	}
	if err := r.d.Start(ctx, Config{Sizes: []uint16{0}}); err != nil {
		return err
	}
	r.q = r.d.Queue(0)
	return nil
}

func (r *RNG) queue() *Queue {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.q
}

// Read fills p with entropy, at most 4 KiB a call. A device of hvl-v2 that needs a reset, its
// monitor having come back without the state it had, gets one. Read ends with an error when the
// Window is closed.
func (r *RNG) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	ctx := context.Background()
	for restarts := 0; ; restarts++ {
		q := r.queue()
		n, err := q.Do(ctx, nil, p[:min(len(p), rngChunk)])
		if errors.Is(err, ErrNeedsReset) && restarts < rngRestarts {
			if err = r.restart(ctx, q); err == nil || errors.Is(err, ErrNeedsReset) {
				continue
			}
		}
		if err == nil && n == 0 {
			err = q.named(io.ErrNoProgress) // a device that has none must not spin its reader
		}
		return n, err
	}
}
