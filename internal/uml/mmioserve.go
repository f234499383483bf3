package uml

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
	"github.com/hypervisorless/virtio/virtio"
	"golang.org/x/sys/unix"
)

// MMIODevice is a device on a doorbell.
type MMIODevice struct {
	Name    string
	Backend virtio.Backend
}

// Serve serves the devices of a kernel, one on each slot page, until ctx ends, which takes them
// away from the kernel, or the kernel has closed the doorbell. Who dies instead can be succeeded:
// the pages say where it was. What was handed over stays the caller's.
func (h *Handover) Serve(ctx context.Context, log *slog.Logger, devices ...MMIODevice) error {
	region, err := h.mapRAM()
	if err != nil {
		return err
	}
	defer region.Close()
	line, err := newBell(h.Bell)
	if err != nil {
		return err
	}
	defer line.Close()
	if len(devices) > len(h.Pages) {
		return fmt.Errorf("%d devices, the kernel has pages for %d", len(devices), len(h.Pages))
	}
	bus, err := mmio.NewBus(mmio.Options{Region: region, Line: line, Layout: mmio.Bare, Log: log})
	if err != nil {
		return err
	}
	for i, d := range devices {
		where := hvl2.Place{SlotOff: h.Pages[i], MemSize: region.Size()}
		if err := bus.AddPage(d.Name, d.Backend, where); err != nil {
			return err
		}
	}
	if err := bus.Run(ctx); !errors.Is(err, notify.ErrPeerGone) {
		return err
	}
	return nil
}

// mapRAM maps the kernel's memory.
func (h *Handover) mapRAM() (*shmem.Region, error) {
	info, err := h.RAM.Stat()
	if err != nil {
		return nil, err
	}
	fd, err := unix.FcntlInt(h.RAM.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	file := os.NewFile(uintptr(fd), h.RAM.Name())
	region, err := shmem.OpenFD(file, 0, info.Size(), shmem.Normal)
	if err != nil {
		file.Close()
	}
	return region, err
}
