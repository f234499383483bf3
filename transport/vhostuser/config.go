package vhostuser

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// onGetConfig answers with as many bytes as were asked for; what is beyond the configuration
// space reads 0. If all of it is, the empty answer says that there is no such thing.
func (c *conn) onGetConfig(m *message) []byte {
	if uint64(m.config.offset) >= uint64(c.s.dev.Info().ConfigLen) {
		return []byte{}
	}
	p := c.payload(configHeadSize + len(m.config.bytes))
	le.PutUint32(p, m.config.offset)
	le.PutUint32(p[4:], m.config.size)
	le.PutUint32(p[8:], m.config.flags)
	c.s.dev.ReadConfig(p[configHeadSize:], int(m.config.offset))
	return p
}

var (
	errReadOnly  = errors.New("the configuration space is read-only")
	errMigration = errors.New("state of the configuration space from elsewhere is not taken")
)

func (c *conn) onSetConfig(m *message) error {
	switch {
	case m.config.flags != 0:
		return errMigration
	case !c.s.dev.TakesConfig():
		return errReadOnly
	case uint64(m.config.offset)+uint64(m.config.size) > uint64(c.s.dev.Info().ConfigLen):
		return fmt.Errorf("%d bytes at %d are outside of the configuration space", m.config.size, m.config.offset)
	}
	c.s.dev.WriteConfig(m.config.bytes, int(m.config.offset))
	return nil
}

// onSetBackendReqFD opens the channel for requests of ours.
func (c *conn) onSetBackendReqFD() error {
	fd := c.in.take(0)
	kind, err := kindOf(fd)
	if err == nil && kind == eventfd {
		err = errors.New("an eventfd carries no messages")
	}
	if err != nil {
		_ = unix.Close(fd)
		return fatal(err)
	}
	if old := c.s.channel.Swap(nil); old != nil {
		c.kicks.drop(backChannel)
		old.close()
	}
	if kind == socket {
		// Answers are read through a descriptor of its own, since each is closed by its owner.
		twin, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			if err = c.kicks.watch(backChannel, twin, kind); err != nil {
				_ = unix.Close(twin)
			}
		}
		if err != nil {
			_ = unix.Close(fd)
			return fatal(err)
		}
	}
	c.s.channel.Store(openChannel(fd, kind, len(c.rings), c.has(protoInband)))
	return nil
}
