package console

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// OpenFile is an Endpoint that appends all output to the file at path, created for its owner
// alone if it does not exist. There is no input.
func OpenFile(path string) (Endpoint, error) {
	// Non-blocking for the paths that are no regular files: a FIFO, a serial line.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK|unix.O_NOCTTY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	h, err := newHostFile(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("console: %w", err)
	}
	return file{h}, nil
}

type file struct{ *hostFile }

func (file) Read([]byte) (int, error) { return 0, io.EOF }
