package uml

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
	"github.com/hypervisorless/virtio/virtio"
	"golang.org/x/sys/unix"
)

// MMIODevice is a device on a doorbell.
type MMIODevice struct {
	Name    string
	Backend virtio.Backend
}

// Serve serves the devices of a kernel, one on each slot page, until ctx ends or the kernel has
// closed the doorbell. What was handed over stays the caller's. Whoever served it before has to
// be gone.
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
	var slots []*hvl2.Slot
	for i, d := range devices {
		s, err := hvl2.New(d.Name, d.Backend, hvl2.Options{
			Region: region, Log: log, Ring: func() { line.Raise() }, Wake: line.Wake,
			Place: hvl2.Place{SlotOff: h.Pages[i], MemSize: region.Size()},
		})
		if err != nil {
			return err
		}
		slots = append(slots, s)
	}
	for _, s := range slots {
		if err := s.Start(); err != nil {
			return err
		}
	}
	line.Raise()
	defer context.AfterFunc(ctx, line.Wake)()
	for ctx.Err() == nil {
		for _, s := range slots {
			if _, err := s.Scan(); err != nil {
				return err
			}
		}
		if err = line.Wait(); err != nil {
			break
		}
	}
	for _, s := range slots {
		s.Stop()
	}
	for _, s := range slots {
		for !s.Quiet() {
			line.Wait()
		}
	}
	if errors.Is(err, notify.ErrPeerGone) {
		return nil
	}
	return err
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
