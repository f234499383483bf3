package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
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
	err = m.bus.Run(ctx)
	m.log.Info("stopped")
	return err
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
