package vhostuser

import (
	"errors"
	"fmt"
	"time"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// advance starts what can be started after a message. The error is of the first queue that the
// device would not have.
func (c *conn) advance() (first error) {
	if c.mem.space == nil || c.s.dev.Broken() != nil {
		return nil
	}
	for i := range c.rings {
		r := &c.rings[i]
		if r.live || r.failed || !c.ready(r) || !c.negotiated() {
			continue
		}
		if err := c.start(i); err != nil {
			r.failed = true
			c.s.raiseErr(i)
			if first == nil {
				first = &startError{i, err}
			}
		}
	}
	return first
}

// startError is a queue that is described in full and cannot be started.
type startError struct {
	queue int
	err   error
}

func (e *startError) Error() string {
	return fmt.Sprintf("queue %d cannot be started: %v", e.queue, e.err)
}
func (e *startError) Unwrap() error { return e.err }

// start hands a ring to the device, and begins the session with the first one unless the
// front-end says itself when the driver is ready.
func (c *conn) start(i int) error {
	config, err := c.config(i)
	if err != nil {
		return err
	}
	if err := c.takeUp(i, &config); err != nil {
		return err
	}
	if err := c.s.dev.EnableQueue(c.mem.space, config); err != nil {
		return err
	}
	c.rings[i].live = true
	c.begun = true
	if !c.status && !c.s.dev.Live() {
		c.s.dev.SetStatus(configured | virtio.DriverOK)
	}
	if r := &c.rings[i]; r.base != 0 || r.journal != nil && r.journal.shared {
		c.s.later(&c.s.calls[i]) // a predecessor may have died before it called
	}
	c.s.dev.Kick() // what came before the ring was there
	return nil
}

// config is the geometry of a ring in the driver's addresses.
func (c *conn) config(i int) (vring.Config, error) {
	r := &c.rings[i]
	config := vring.Config{Index: i, Layout: vring.Layout{Size: uint16(r.size)}}
	for _, part := range []struct {
		user, n uint64
		guest   *uint64
	}{
		{r.addr.desc, config.DescBytes(), &config.Desc},
		{r.addr.avail, config.AvailBytes(), &config.Avail},
		{r.addr.used, config.UsedBytes(), &config.Used},
	} {
		var err error
		if *part.guest, err = c.mem.guest(part.user, part.n); err != nil {
			return config, err
		}
	}
	return config, nil
}

// configured is the status of a driver that has only DRIVER_OK to say.
const configured = virtio.Acknowledge | virtio.Driver | virtio.FeaturesOK

var errFeatures = errors.New("the device does not work with these features")

// negotiate gives the device the driver's features, and the status that goes with them unless the
// front-end carries the status itself.
func (c *conn) negotiate() error {
	c.s.dev.SetDriverFeatures(c.features)
	if c.status {
		return nil
	}
	if c.s.dev.SetStatus(configured)&virtio.FeaturesOK == 0 {
		c.s.dev.End()
		return fatal(errFeatures)
	}
	return nil
}

// negotiated reports whether the features are agreed on; those of a session that was ended are
// taken for the next one.
func (c *conn) negotiated() bool {
	if c.s.dev.Status()&virtio.FeaturesOK != 0 {
		return true
	}
	return !c.status && c.featured && c.negotiate() == nil
}

// anyLive reports whether a ring is live.
func (c *conn) anyLive() bool {
	for i := range c.rings {
		if c.rings[i].live {
			return true
		}
	}
	return false
}

// stop takes a ring from the device and waits until nothing touches its memory any more.
func (c *conn) stop(i int) error {
	r := &c.rings[i]
	if !r.live {
		return nil
	}
	r.live = false
	if c.s.dev.Broken() != nil || !c.s.dev.Enabled(i) {
		return nil
	}
	if !c.s.dev.DisableQueue(i) {
		if err := c.wait(fmt.Sprintf("queue %d", i), func() bool { return c.s.dev.QueueReleased(i) }); err != nil {
			return err
		}
	}
	if base, ok := c.s.dev.Position(i); ok {
		r.base = base
	}
	return nil
}

// halt stops a ring, which then waits for a new kick.
func (c *conn) halt(i int) error {
	if c.rings[i].live {
		c.kicks.drop(int32(i))
		c.rings[i].kick = stopped
	}
	return c.stop(i)
}

// still stops all rings for a moment, to change what they lie in. If none was live, the driver
// starts again.
func (c *conn) still() error {
	if !c.anyLive() {
		if err := c.endSession(); err != nil {
			return err
		}
	}
	for i := range c.rings {
		if err := c.stop(i); err != nil {
			return err
		}
	}
	return c.released()
}

// released waits until nothing touches the memory of rings that were stopped. A device that broke
// meanwhile has no queues any more, but may not have let go of them yet.
func (c *conn) released() error {
	return c.wait("the backend", func() bool { return c.s.dev.Live() || c.s.dev.Released() })
}

// endSession ends the session, if there is one, and waits until the device has let go. Rings that
// were live can go on in the next one.
func (c *conn) endSession() error {
	if !c.begun || c.status {
		return nil
	}
	for i := range c.rings {
		if err := c.stop(i); err != nil {
			return err
		}
	}
	return c.reset()
}

// reset makes the device a new one. Rings that were live are forgotten where they are.
func (c *conn) reset() error {
	for i := range c.rings {
		c.rings[i].live = false
	}
	c.s.dev.End()
	if err := c.wait("the backend", c.s.dev.Quiet); err != nil {
		return err
	}
	c.begun = false
	return nil
}

// stopTime bounds how long a backend is waited for.
const stopTime = 5 * time.Second

// relieveTime is after what time a wait looks for goroutines that the front-end holds.
const relieveTime = 10 * time.Millisecond

// wait waits until the device has let go of something.
func (c *conn) wait(what string, done func() bool) error {
	expired := time.After(c.s.patience)
	for !done() {
		select {
		case <-c.s.woken:
		case <-time.After(relieveTime):
			c.s.relieve()
		case <-expired:
			return fatal(fmt.Errorf("%s did not stop within %v", what, c.s.patience))
		}
	}
	return nil
}
