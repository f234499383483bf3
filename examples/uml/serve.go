package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"

	"github.com/hypervisorless/virtio/internal/uml"
	"github.com/hypervisorless/virtio/transport/vhostuser"
	"github.com/hypervisorless/virtio/virtio"
)

// device is a back-end and its name. Nothing in it knows which transport serves it.
type device struct {
	name    string
	backend virtio.Backend
}

// service is our side of the machine.
type service struct {
	dir     string // for sockets
	log     *slog.Logger
	rig     *uml.Rig
	devices []device
	running sync.WaitGroup
}

// transports serve the devices until ctx ends, and say how a kernel finds them.
var transports = map[string]func(ctx context.Context, s *service) (uml.Attachment, error){
	"vhost-user": serveVhostUser,
	"mmio":       serveMMIO,
}

// wait returns when nothing is served any more.
func (s *service) wait() { s.running.Wait() }

func serveVhostUser(ctx context.Context, s *service) (uml.Attachment, error) {
	var all uml.Attachment
	for _, d := range s.devices {
		socket := filepath.Join(s.dir, d.name)
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
		if err != nil {
			return all, err
		}
		server, err := vhostuser.New(d.name, d.backend, vhostuser.Options{Log: s.log})
		if err != nil {
			return all, errors.Join(err, l.Close())
		}
		s.running.Go(func() { s.ended(d.name, server.Run(ctx, l)) })
		a := uml.VhostUser(socket, int(d.backend.Info().ID))
		all.KernelArgs = append(all.KernelArgs, a.KernelArgs...)
	}
	return all, nil
}

func serveMMIO(ctx context.Context, s *service) (uml.Attachment, error) {
	socket := filepath.Join(s.dir, "doorbell")
	l, err := uml.ListenMMIO(socket)
	if err != nil {
		return uml.Attachment{}, err
	}
	s.running.Go(func() { s.ended("doorbell", s.serveDoorbell(ctx, l)) })
	return s.rig.MMIO(ctx, uml.MMIOLine{Socket: socket, Devices: len(s.devices)})
}

// serveDoorbell serves the kernel that connects, with all devices on one doorbell.
func (s *service) serveDoorbell(ctx context.Context, l *net.UnixListener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	h, err := uml.AcceptMMIO(l)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	var devices []uml.MMIODevice
	for _, d := range s.devices {
		devices = append(devices, uml.MMIODevice{Name: d.name, Backend: d.backend})
	}
	return h.Serve(ctx, s.log, devices...)
}

// ended says what ended a service that was to last.
func (s *service) ended(name string, err error) {
	if err != nil {
		s.log.Error(fmt.Sprintf("%s is served no more", name), "err", err)
	}
}
