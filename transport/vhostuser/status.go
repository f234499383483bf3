package vhostuser

import (
	"fmt"

	"github.com/hypervisorless/virtio/virtio"
)

// onSetStatus takes the device status from a front-end that carries it; from then on DRIVER_OK
// begins a session, and 0 ends it.
func (c *conn) onSetStatus(m *message) error {
	if m.u64 > 0xff {
		return fatal(fmt.Errorf("device status %#x", m.u64))
	}
	c.status = true
	status := virtio.Status(m.u64)
	if status == 0 {
		return c.renew()
	}
	if now := c.s.dev.SetStatus(status); now&status != status {
		return fmt.Errorf("device status %v is %v", status, now)
	}
	if status&virtio.DriverOK != 0 {
		c.begun = true
	}
	return nil
}

// onResetDevice makes the device a new one. The memory stays.
func (c *conn) onResetDevice() error { return c.renew() }

// renew resets the device; queues have to be described and started anew.
func (c *conn) renew() error {
	if err := c.reset(); err != nil {
		return err
	}
	for i := range c.rings {
		c.kicks.drop(int32(i))
		c.rings[i] = ring{}
	}
	c.area.close() // the front-end says again what is in flight, or that nothing is
	c.features, c.featured = virtio.Features{}, false
	return nil
}
