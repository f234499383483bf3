package driver

import (
	"context"
	"fmt"
	"time"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
	"github.com/hypervisorless/virtio/virtio"
)

func (d *Device) offered() (f virtio.Features, err error) {
	err = d.control("features", func() error {
		ctx := context.Background()
		if !d.page.attached {
			d.endLife()
			if err := d.page.drain(ctx); err != nil {
				return err
			}
			if err := d.page.reset(ctx); err != nil {
				return err
			}
		}
		f, err = d.page.features(ctx)
		return err
	})
	return f, err
}

// configSize is the length of the configuration space.
func (d *Device) configSize() int {
	if d.page == nil {
		return mmio.ConfigSize
	}
	return int(min(d.page.load(hvl2.OffConfigSize), hvl2.ConfigSize))
}

// readConfig waits while the device is at it, since an odd generation has no consistent reading.
func (d *Device) readConfig(buf []byte, off int) error {
	err := d.w.guarded(func() error {
		var fence shmem.Fence
		begun := time.Now()
		for {
			before := d.page.load(hvl2.RegConfigGeneration)
			if before&1 == 0 {
				d.regs.ReadAt(buf, hvl2.RegConfig+uint64(off))
				fence.StoreLoad() // a load that acquires does not keep earlier ones before it
				if d.page.load(hvl2.RegConfigGeneration) == before {
					return nil
				}
			}
			if time.Since(begun) > oddLimit {
				return fmt.Errorf("configuration space: %w", ErrNoAnswer)
			}
			time.Sleep(oddPause)
		}
	})
	if err != nil {
		return fmt.Errorf("driver: %v: %w", d, err)
	}
	return nil
}

// oddPause is how long a reader of the configuration space leaves its writer in peace.
const oddPause = 20 * time.Microsecond

// WriteConfig writes p into the configuration space of a device of hvl-v2 at offset off, in
// accesses of 4, 2 or 1 bytes as they are aligned (4.2.2.2). What the device does not let be
// written is ErrRefused.
func (d *Device) WriteConfig(ctx context.Context, p []byte, off int) error {
	return d.control("configuration", func() error {
		if size := d.configSize(); off < 0 || off > size || len(p) > size-off {
			return fmt.Errorf("%d bytes at %d are outside of it", len(p), off)
		}
		for len(p) > 0 {
			width := 4
			for off%width != 0 || width > len(p) {
				width /= 2
			}
			var v uint32
			for i, b := range p[:width] {
				v |= uint32(b) << (8 * i)
			}
			if err := d.page.writeWidth(ctx, uint32(hvl2.RegConfig+off), v, uint32(width)); err != nil {
				return err
			}
			p, off = p[width:], off+width
		}
		return nil
	})
}
