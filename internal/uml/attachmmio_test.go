package uml

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio"
)

// attachMMIO serves the devices for Linux's virtio_mmio.c over slots of hvl-v2, all on one
// doorbell.
func attachMMIO(t testing.TB, r *Rig, devices ...virtio.Backend) Attachment {
	t.Helper()
	a, err := r.MMIO(t.Context(), serveMMIO(t, devices...))
	need(t, err)
	return a
}

// serveMMIO serves the devices on a doorbell. A kernel that comes after another gets the same.
func serveMMIO(t testing.TB, devices ...virtio.Backend) MMIOLine {
	t.Helper()
	socket := filepath.Join(shortDir(t), "mmio")
	listener, err := ListenMMIO(socket)
	assert.NilError(t, err)
	var named []MMIODevice
	for _, d := range devices {
		named = append(named, MMIODevice{d.Info().ID.String(), d})
	}
	background(t, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { listener.Close() })()
		for {
			h, err := AcceptMMIO(listener)
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			if err != nil {
				return err
			}
			err = h.Serve(ctx, testLog(t), named...)
			if err = errors.Join(err, h.Close()); err != nil {
				return err
			}
		}
	})
	return MMIOLine{socket, len(devices)}
}
