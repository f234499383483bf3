package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
)

// mmioStats is what the glue counted, a line for each device.
const mmioStats = "/sys/module/virtio_mmio_hvl2/parameters/stats"

// draw reads random bytes while the harness kills the device again and again, and says the sum
// over what it got.
var _ = job("draw", func(g *guest) error {
	var args struct{ Bytes int64 }
	if err := g.args(&args); err != nil {
		return err
	}
	if err := os.WriteFile("/sys/class/misc/hw_random/rng_current", []byte("virtio_rng.0"), 0); err != nil {
		return err
	}
	f, err := os.Open("/dev/hwrng")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := g.say("drawing", nil); err != nil {
		return err
	}
	sum := sha256.New()
	if n, err := io.CopyBuffer(sum, io.LimitReader(f, args.Bytes), make([]byte, 4096)); err != nil {
		return fmt.Errorf("after %d bytes: %w", n, err)
	}
	if err := g.say("drawn", sum.Sum(nil)); err != nil {
		return err
	}
	stats, err := readTrimmed(mmioStats)
	if err != nil {
		return err
	}
	return g.say("stats", stats)
})
