package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
)

// monitor is a plan with everything open.
type monitor struct {
	plan   *plan
	log    *slog.Logger
	quit   func() // ends the monitor; from any goroutine
	region *shmem.Region
	line   notify.Line
	bus    *mmio.Bus
	close  []func() error // in the order of opening
}

// open opens the window, the doorbell and the host's end of every device. A device that can ask
// for the monitor's end calls quit.
func (p *plan) open(log *slog.Logger, quit func()) (*monitor, error) {
	m := &monitor{plan: p, log: log, quit: quit}
	if err := m.open(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *monitor) open() (err error) {
	p := m.plan
	if m.region, err = p.window.open(); err != nil {
		return err
	}
	m.close = append(m.close, m.region.Close)
	if m.line, err = p.doorbell.open(); err != nil {
		return err
	}
	m.close = append(m.close, m.line.Close)
	m.bus, err = mmio.NewBus(mmio.Options{
		Region: m.region, Addr: p.window.addr, Line: m.line, Layout: p.layout,
		Offer: p.offer, PlainStore: p.plain, Wipe: p.wipe, Spin: p.spin,
		Isolate: p.isolate, ClearIdle: p.clearIdle,
		Ready: m.ready, Log: m.log,
	})
	if err != nil {
		return err
	}
	for _, d := range p.devices {
		if err := m.add(d); err != nil {
			return fmt.Errorf("-device %q: %w", d.spec.text, err)
		}
	}
	return nil
}

func (m *monitor) add(d *device) error {
	backend, closer, err := d.open(m)
	if err != nil {
		return err
	}
	if closer != nil {
		m.close = append(m.close, closer)
	}
	return m.bus.Add(d.name, backend, d.mem)
}

// Close closes what is open, last first.
func (m *monitor) Close() error {
	var errs []error
	for i := len(m.close) - 1; i >= 0; i-- {
		errs = append(errs, m.close[i]())
	}
	return errors.Join(errs...)
}

// ready says that a front-end may come: registers are published and the doorbell answers.
func (m *monitor) ready() {
	m.log.Info("ready", "memory", m.memory(), "addr", fmt.Sprintf("%#x", m.plan.window.addr),
		"size", m.region.Size(), "layout", m.plan.layout.String(), "doorbell", m.plan.doorbell.spec.text, "devices", len(m.plan.devices))
	if err := sdNotify("READY=1"); err != nil {
		m.log.Warn("readiness could not be reported", "err", err)
	}
}

// memory is the window as another process can open it.
func (m *monitor) memory() string {
	if m.plan.window.spec.kind == "memfd" {
		return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), m.region.File().Fd())
	}
	return m.region.String()
}
