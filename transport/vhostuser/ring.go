package vhostuser

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/hypervisorless/virtio/vring"
)

// ring is a queue as the front-end has described it so far.
type ring struct {
	size   uint32
	sized  bool
	addr   ringAddr
	placed bool
	base   uint16 // index of the next entry to take
	kick   kickMode
	enable enableState
	live   bool // the device has it
	failed bool // the device would not have it as it is described now

	journal *journal // nil: nothing is noted
}

// kickMode is how the front-end signals, which is also what starts a ring.
type kickMode uint8

const (
	stopped  kickMode = iota
	byFD              // by a descriptor
	bySocket          // in-band
)

// enableState is what SET_VRING_ENABLE said last.
type enableState uint8

const (
	unsaid enableState = iota
	disabled
	enabled
)

// ready reports whether everything is there that a ring needs.
func (c *conn) ready(r *ring) bool {
	return r.sized && r.placed && r.kick != stopped &&
		(r.enable == enabled || r.enable == unsaid && !c.gated)
}

// ring is the one with this index.
func (c *conn) ring(index uint32) (*ring, error) {
	if uint64(index) >= uint64(len(c.rings)) {
		return nil, fatal(fmt.Errorf("there is no queue %d", index))
	}
	return &c.rings[index], nil
}

func (c *conn) onSetVringNum(m *message) error {
	r, err := c.ring(m.index)
	if err != nil {
		return err
	}
	if !vring.ValidSize(m.num) || m.num > uint32(c.s.dev.MaxSize(int(m.index))) {
		return fmt.Errorf("queue %d: size %d is not a power of two up to %d", m.index, m.num, c.s.dev.MaxSize(int(m.index)))
	}
	if !r.sized || r.size != m.num {
		if err := c.halt(int(m.index)); err != nil {
			return err
		}
	}
	r.size, r.sized, r.failed = m.num, true, false
	return nil
}

// onSetVringAddr is also sent for a ring that is live, to say something about its logging.
func (c *conn) onSetVringAddr(m *message) error {
	r, err := c.ring(m.index)
	if err != nil {
		return err
	}
	if !r.placed || r.addr != m.addr {
		if err := c.halt(int(m.index)); err != nil {
			return err
		}
	}
	r.addr, r.placed, r.failed = m.addr, true, false
	return nil
}

// onSetVringBase says where a ring begins, and so that it begins anew.
func (c *conn) onSetVringBase(m *message) error {
	r, err := c.ring(m.index)
	if err != nil {
		return err
	}
	if m.num > 0xffff {
		return fatal(fmt.Errorf("queue %d: base %#x", m.index, m.num))
	}
	if err := c.halt(int(m.index)); err != nil {
		return err
	}
	if !c.anyLive() {
		if err := c.endSession(); err != nil {
			return err
		}
	}
	r.base, r.failed = uint16(m.num), false
	return nil
}

// onGetVringBase stops a ring. What it needs to start again is a new kick.
func (c *conn) onGetVringBase(m *message) (uint16, error) {
	r, err := c.ring(m.index)
	if err != nil {
		return 0, err
	}
	c.kicks.drop(int32(m.index))
	r.kick = stopped
	if err := c.stop(int(m.index)); err != nil {
		return 0, err
	}
	return r.base, nil
}

func (c *conn) onSetVringEnable(m *message) error {
	r, err := c.ring(m.index)
	if err != nil {
		return err
	}
	if m.num > 1 {
		return fatal(fmt.Errorf("queue %d: neither enabled nor disabled, but %d", m.index, m.num))
	}
	if m.num == 1 {
		r.enable, r.failed = enabled, false
		return nil
	}
	r.enable = disabled
	return c.stop(int(m.index))
}

// errPolling refuses what would cost a CPU for ever.
var errPolling = errors.New("a queue that is not kicked would have to be polled, which is not done")

func (c *conn) onSetVringKick(m *message) error {
	r, err := c.ring(m.index)
	if err != nil {
		return err
	}
	if m.noFD {
		if !c.has(protoInband) {
			return fmt.Errorf("queue %d: %w", m.index, errPolling)
		}
		c.kicks.drop(int32(m.index))
		r.kick, r.failed = bySocket, false
		return nil
	}
	fd := c.in.take(0)
	kind, err := kindOf(fd)
	if err == nil {
		err = c.kicks.watch(int32(m.index), fd, kind)
	}
	if err != nil {
		_ = unix.Close(fd)
		return fatal(fmt.Errorf("queue %d: kick: %w", m.index, err))
	}
	r.kick, r.failed = byFD, false
	return nil
}

// onVringKick is a kick in a message. It starts a ring that has no descriptor for kicks.
func (c *conn) onVringKick(m *message) error {
	r, err := c.ring(m.index)
	if err != nil {
		return err
	}
	if r.kick == stopped {
		r.kick = bySocket
	}
	c.s.dev.Kick()
	return nil
}

func (c *conn) onSetVringCall(m *message) error { return c.setSignal(m, c.s.calls, "call") }
func (c *conn) onSetVringErr(m *message) error  { return c.setSignal(m, c.s.errs, "err") }

func (c *conn) setSignal(m *message, of []signal, what string) error {
	if _, err := c.ring(m.index); err != nil {
		return err
	}
	g := &of[m.index]
	if m.noFD {
		g.clear()
		return nil
	}
	fd := c.in.take(0)
	kind, err := kindOf(fd)
	if err != nil {
		_ = unix.Close(fd)
		return fatal(fmt.Errorf("queue %d: %s: %w", m.index, what, err))
	}
	if g.replace(fd, kind) {
		c.s.later(g)
	}
	return nil
}
