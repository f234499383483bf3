// Command sensor shows a device of one's own: an oven's firmware on one side of shared memory,
// a controller in Go on the other.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// What both sides have to agree on.
const (
	deviceID        virtio.DeviceID = 0x4001 // beyond those of the specification
	protocolVersion                 = 1
	windowAddr                      = 0x37000000
	windowSize                      = 1 << 20
)

// target is the temperature that the controller is after.
const target = 180

func main() {
	side := flag.String("side", "both", "which side to be: monitor, firmware, or both in one process")
	window := flag.String("window", "/dev/shm/sensor-window", "the shared memory of two processes")
	bell := flag.String("doorbell", "/tmp/sensor-bell", "the socket of two processes")
	steps := flag.Int("steps", 40, "how often the firmware measures")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *side, *window, *bell, *steps, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sensor:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, side, window, bell string, steps int, out io.Writer) error {
	switch side {
	case "both":
		return both(ctx, steps, out)
	case "monitor", "firmware":
	default:
		return fmt.Errorf("-side %q: accepted are monitor, firmware, both", side)
	}
	region, err := shmem.OpenFile(window, windowSize)
	if err != nil {
		return err
	}
	defer region.Close()
	dial := notify.DialUnix
	if side == "monitor" {
		dial = notify.ListenUnix
	}
	line, err := dial(bell)
	if err != nil {
		return err
	}
	defer line.Close()
	if side == "monitor" {
		return monitor(ctx, region, line)
	}
	return drive(ctx, region, line, steps, out)
}

// both is the monitor and the firmware in one process.
func both(ctx context.Context, steps int, out io.Writer) error {
	region, err := shmem.NewMemfd("sensor", windowSize)
	if err != nil {
		return err
	}
	defer region.Close()
	host, guest := notify.NewPair()
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- monitor(ctx, region, host) }()
	err = drive(ctx, region, guest, steps, out)
	cancel()
	if serr := <-served; err == nil {
		err = serr
	}
	return err
}

// monitor serves the device until ctx ends: the controller heats in proportion to what lacks.
func monitor(ctx context.Context, region *shmem.Region, line notify.Line) error {
	dev := &Device{}
	dev.OnSample = func(celsius float64) { dev.SetPower(0.5 + (target-celsius)/50) }
	bus, err := mmio.NewBus(mmio.Options{
		Region: region, Addr: windowAddr, Line: line, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	if err := bus.Add("sensor", dev, 0); err != nil {
		return err
	}
	return bus.Run(ctx)
}

// drive runs the firmware against whatever monitor is at the other end.
func drive(ctx context.Context, region *shmem.Region, line notify.Line, steps int, out io.Writer) error {
	w, err := driver.Open(driver.Options{Region: region, Addr: windowAddr, Line: line})
	if err != nil {
		return err
	}
	defer w.Close()
	d, err := w.Find(ctx, deviceID, 0)
	if err != nil {
		return err
	}
	n := 0
	return firmware(ctx, d, steps, func(celsius, power float64) {
		n++
		fmt.Fprintf(out, "sample %3d: %6.1f °C, heater %3.0f %%\n", n, celsius, 100*min(max(power, 0), 1))
	})
}
