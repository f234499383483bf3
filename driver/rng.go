package driver

import (
	"context"
	"io"
)

// RNG is an entropy device (5.4). Safe for concurrent use.
type RNG struct{ q *Queue }

var _ io.Reader = (*RNG)(nil)

// rngChunk is the most that is asked for at once.
const rngChunk = 4096

// StartRNG brings up an entropy device.
func StartRNG(ctx context.Context, d *Device) (*RNG, error) {
	if err := d.Start(ctx, Config{Sizes: []uint16{0}}); err != nil {
		return nil, err
	}
	return &RNG{d.Queue(0)}, nil
}

// Read fills p with entropy, at most 4 KiB a call. It ends with an error when the Window is
// closed.
func (r *RNG) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.q.Do(context.Background(), nil, p[:min(len(p), rngChunk)])
	if err == nil && n == 0 {
		err = r.q.named(io.ErrNoProgress) // a device that has none must not spin its reader
	}
	return n, err
}
