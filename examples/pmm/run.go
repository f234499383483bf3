package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hypervisorless/virtio/shmem"
)

func runCommand(args []string, stdout, stderr io.Writer) error {
	c, help, err := parseConfig("run", "pmm run: serve devices to the front-end in a window of shared memory", args, stdout, nil)
	if help || err != nil {
		return err
	}
	p, err := c.check()
	if err != nil {
		return err
	}
	if p.doorbell == nil {
		return refuse("doorbell", "", doorbellKinds)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// After the first signal the default is back: a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	ctx, quit := context.WithCancel(ctx)
	defer quit()

	m, err := p.open(newLogger(c, stderr), quit)
	if err != nil {
		return err
	}
	defer m.Close()
	if c.status != "" {
		server, err := m.serveStatus()
		if err != nil {
			return err
		}
		defer server.Close()
	}
	err = m.serve(ctx)
	m.log.Info("stopped")
	return err
}

// serve runs the bus until ctx ends or it fails. A window that vanishes (a truncated file, an
// unbound device) stops the devices, not the monitor: they begin anew when it is back.
func (m *monitor) serve(ctx context.Context) error {
	for {
		err := m.bus.Run(ctx)
		var fault *shmem.FaultError
		if !errors.As(err, &fault) {
			return err
		}
		m.log.Error("the window vanished; its devices are stopped until it is back", "err", err)
		for m.gone() {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
		}
		m.log.Info("the window is back")
	}
}

// gone reports whether the window faults, at its end or at its start.
func (m *monitor) gone() bool {
	touch := func() (err error) {
		defer shmem.Recover(&err, shmem.Guard())
		all, err := m.region.Span(0, m.region.Size())
		if err != nil {
			return err
		}
		all.Load32(all.Len() - 4)
		all.Load32(0)
		return nil
	}
	return touch() != nil
}

func newLogger(c config, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if c.verbose {
		opts.Level = slog.LevelDebug
	}
	if c.log == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
