package driver

import (
	"context"
	"errors"
	"io"
)

// RNG is an entropy device (5.4). Safe for concurrent use.
type RNG struct{ q *Queue }

var _ io.Reader = (*RNG)(nil)

// StartRNG brings up an entropy device.
func StartRNG(ctx context.Context, d *Device) (*RNG, error) {
	return nil, errors.New("driver: not yet")
}

// Read fills p with entropy, at most 4 KiB a call. It ends with an error when the Window is
// closed.
func (r *RNG) Read(p []byte) (int, error) { return 0, errors.New("driver: not yet") }
