package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"sync"
	"sync/atomic"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// Device is a device of our own: on queue 0 the firmware posts samples, on queue 1 it asks how
// much power to give the heater. Both are 8 bytes, a little-endian float64.
type Device struct {
	OnSample func(celsius float64)
	power    atomic.Uint64
	in, out  [8]byte // one for each queue: nothing is allocated per request
}

// SetPower is what the firmware reads from now on.
func (d *Device) SetPower(p float64) { d.power.Store(math.Float64bits(p)) }

func (d *Device) Info() virtio.Info {
	return virtio.Info{ID: deviceID, Queues: []uint16{16, 16}, ConfigLen: 4, InOrder: true}
}

func (d *Device) ReadConfig(p []byte, off int) {
	copy(p, binary.LittleEndian.AppendUint32(nil, protocolVersion)[off:])
}

func (d *Device) Serve(ctx context.Context, s *virtio.Session) error {
	ctx, end := context.WithCancelCause(ctx)
	var queues sync.WaitGroup
	queues.Go(func() { end(s.Queue(0).Handle(ctx, d.sample)) })
	queues.Go(func() { end(s.Queue(1).Handle(ctx, d.ask)) })
	queues.Wait()
	return context.Cause(ctx)
}

func (d *Device) sample(c *vring.Chain) error {
	if _, err := io.ReadFull(c, d.in[:]); err != nil {
		return err // the firmware gets its buffer back, and the monitor counts a refusal
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(d.in[:]))
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return errors.New("sample is not a number")
	}
	d.OnSample(v)
	return nil
}

func (d *Device) ask(c *vring.Chain) error {
	binary.LittleEndian.PutUint64(d.out[:], d.power.Load())
	_, err := c.Write(d.out[:])
	return err
}
