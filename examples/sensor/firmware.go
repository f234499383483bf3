package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/hypervisorless/virtio/driver"
)

// firmware is the other side: it measures an oven and heats it as it is told. step is called with
// each temperature and the power that was the answer.
func firmware(ctx context.Context, d *driver.Device, steps int, step func(celsius, power float64)) error {
	if err := d.Start(ctx, driver.Config{Sizes: []uint16{0, 0}}); err != nil {
		return err
	}
	var version [4]byte
	if err := d.ReadConfig(version[:], 0); err != nil {
		return err
	}
	if v := binary.LittleEndian.Uint32(version[:]); v != protocolVersion {
		return fmt.Errorf("the device speaks version %d, this is %d", v, protocolVersion)
	}
	oven := oven{20}
	var b [8]byte
	for range steps {
		binary.LittleEndian.PutUint64(b[:], math.Float64bits(oven.celsius))
		if _, err := d.Queue(0).Do(ctx, b[:], nil); err != nil {
			return fmt.Errorf("sample: %w", err)
		}
		if n, err := d.Queue(1).Do(ctx, nil, b[:]); err != nil {
			return fmt.Errorf("power: %w", err)
		} else if n != len(b) {
			return fmt.Errorf("power: %d bytes instead of %d", n, len(b))
		}
		power := math.Float64frombits(binary.LittleEndian.Uint64(b[:]))
		step(oven.celsius, power)
		oven.heat(power)
	}
	return nil
}

// oven warms up by its heater and cools down by its walls.
type oven struct{ celsius float64 }

func (o *oven) heat(power float64) {
	o.celsius += 12*min(max(power, 0), 1) - 0.04*(o.celsius-20)
}
