package mmio

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
)

// errTaken says that two monitors were started for one slot page.
var errTaken = errors.New("another monitor serves this slot page")

// claim locks the slot pages in the file behind the window, where there is one: two monitors on
// one page would answer over each other. The lock goes with the open file and all its mappings,
// so who gets it knows that the predecessor's are gone. Regions that share an open file do not
// keep each other out.
func (b *Bus) claim() error {
	for _, p := range b.pages {
		if err := b.lock(p.Place(), unix.F_WRLCK); err != nil {
			return fmt.Errorf("mmio: %s: window %v: %w", p.Name(), b.opts.Region, err)
		}
	}
	return nil
}

// unclaim lets a successor in while the window stays mapped.
func (b *Bus) unclaim() {
	for _, p := range b.pages {
		b.lock(p.Place(), unix.F_UNLCK) // what was never locked, or cannot be, is free
	}
}

func (b *Bus) lock(where hvl2.Place, kind int16) error {
	f := b.opts.Region.File()
	if f == nil {
		return nil
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	lock := unix.Flock_t{Type: kind, Start: int64(where.SlotOff), Len: int64(where.SlotSize)}
	ctlErr := conn.Control(func(fd uintptr) { err = unix.FcntlFlock(fd, unix.F_OFD_SETLK, &lock) })
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return errTaken
	}
	return errors.Join(ctlErr, err)
}
