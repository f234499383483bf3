package driver

import (
	"context"
	"errors"
	"io"
)

// Console is port 0 of a console device (5.3). One goroutine may read and one may write at the
// same time.
type Console struct{}

var _ io.ReadWriter = (*Console)(nil)

// StartConsole brings up a console device without MULTIPORT, and offers it buffers for input.
func StartConsole(ctx context.Context, d *Device) (*Console, error) {
	return nil, errors.New("driver: not yet")
}

// Read returns input as it comes, at least one byte. It ends with an error when the Window is
// closed.
func (c *Console) Read(p []byte) (int, error) { return 0, errors.New("driver: not yet") }

// Write returns when the device has taken all of p.
func (c *Console) Write(p []byte) (int, error) { return 0, errors.New("driver: not yet") }

// Size is the console's size in characters, both 0 where the device does not say.
func (c *Console) Size() (cols, rows int, err error) { return 0, 0, errors.New("driver: not yet") }
