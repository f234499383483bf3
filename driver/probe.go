package driver

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

// The table layout: headers side by side in the first page, everything else is the driver's.
const (
	tableSize  = 0x1000
	tableSlots = tableSize / mmio.HeaderSize
)

// Probe returns the devices in the window, in the order of their headers. It waits for the
// back-end to publish them, whichever layout it uses: the window may be all zero until then.
// In the table layout nothing says how many there will be: Probe returns those it finds with
// the first.
func (w *Window) Probe(ctx context.Context) (found []*Device, err error) {
	err = w.await(ctx, w.asking(func() (bool, error) {
		var why error
		found, why = w.look()
		return len(found) > 0, why
	}))
	if err != nil {
		return nil, fmt.Errorf("driver: no device in the window: %w", err)
	}
	return found, nil
}

// Find returns device n, from 0, of the given type. It waits until there is one.
func (w *Window) Find(ctx context.Context, id virtio.DeviceID, n int) (d *Device, err error) {
	err = w.await(ctx, w.asking(func() (bool, error) {
		found, why := w.look()
		left := n
		for _, d = range found {
			if d.id == id {
				if left == 0 {
					return true, nil
				}
				left--
			}
		}
		if why == nil {
			why = fmt.Errorf("of %d devices %d are of this type", len(found), n-left)
		}
		return false, why
	}))
	if err != nil {
		return nil, fmt.Errorf("driver: no %v %d in the window: %w", id, n, err)
	}
	return d, nil
}

// asking is a look that rings the back-end when it missed for the first time: one that is idle may
// not know yet that the window was cleared.
func (w *Window) asking(look func() (bool, error)) func() (bool, error) {
	asked := false
	return func() (bool, error) {
		ok, why := look()
		if !ok && !asked {
			asked = true
			if err := w.opts.Line.Raise(); err != nil && why == nil {
				why = err
			}
		}
		return ok, why
	}
}

// errUnpublished says that no back-end has published anything there.
var errUnpublished = errors.New("the back-end has not published its headers")

// look reads the headers that are there now. Without any the error says why.
func (w *Window) look() ([]*Device, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	if w.all.Len() < tableSize {
		return nil, fmt.Errorf("window of %#x bytes is too small", w.all.Len())
	}
	modern, err := w.lookDirectory()
	if err != nil {
		return nil, err
	}
	legacy, err := w.lookLegacy()
	if err != nil && len(modern) == 0 {
		return nil, err
	}
	return append(legacy, modern...), nil
}

// lookLegacy reads the version 1 headers.
func (w *Window) lookLegacy() ([]*Device, error) {
	switch magic := w.all.Load32(0); magic {
	case mmio.Magic:
		return w.lookTable()
	case bits.ReverseBytes32(treeMagic):
		return w.lookTree()
	case 0:
		return nil, errUnpublished
	default:
		return nil, fmt.Errorf("the first word, %#x, is that of neither layout", magic)
	}
}

func (w *Window) lookTable() ([]*Device, error) {
	if w.pool == nil {
		start, end := w.opts.Addr+tableSize, w.opts.Addr+w.all.Len()
		if w.layout != 0 {
			// The rest belongs to devices of hvl-v2: the first header says what was given to its likes.
			base := uint64(w.all.Load32(mmio.RegSHMBaseHigh))<<32 | uint64(w.all.Load32(mmio.RegSHMBaseLow))
			n := uint64(w.all.Load32(mmio.RegSHMLenHigh))<<32 | uint64(w.all.Load32(mmio.RegSHMLenLow))
			if _, err := w.space.Span(base, n); err != nil {
				return nil, fmt.Errorf("memory of the table's devices: %w", err)
			}
			start, end = max(start, base), base+n
		}
		p, err := newPool(w.space, start, end)
		if err != nil {
			return nil, err
		}
		w.pool = p
	}
	var found []*Device
	for slot := range tableSlots {
		d, err := w.header(slot, w.opts.Addr+uint64(slot)*mmio.HeaderSize)
		if err == errUnpublished {
			continue
		}
		if err != nil {
			return nil, err
		}
		d.pool = w.pool
		found = append(found, d)
	}
	return found, nil
}

// lookTree follows the fragment; all that it names must be there.
func (w *Window) lookTree() ([]*Device, error) {
	tree := make([]byte, min(treeSize, w.all.Len()))
	w.all.ReadAt(tree, 0)
	headers, err := treeHeaders(tree)
	if err != nil {
		return nil, err
	}
	var found []*Device
	for slot, addr := range headers {
		d, err := w.header(slot, addr)
		if err != nil {
			return nil, err
		}
		if d.pool == nil {
			if d.pool, err = d.block(addr); err != nil {
				return nil, fmt.Errorf("device in slot %d: %w", slot, err)
			}
		}
		found = append(found, d)
	}
	return found, nil
}

// header is the device behind the header at addr, the same one each time it is asked for;
// errUnpublished when there is none.
func (w *Window) header(slot int, addr uint64) (*Device, error) {
	if i := slices.IndexFunc(w.known, func(d *Device) bool { return d.addr == addr }); i >= 0 {
		return w.known[i], nil
	}
	regs, err := w.space.Span(addr, mmio.HeaderSize)
	if err != nil {
		return nil, fmt.Errorf("device in slot %d: header: %w", slot, err)
	}
	if !regs.Aligned(4) {
		return nil, fmt.Errorf("device in slot %d: header at %#x is not aligned", slot, addr)
	}
	// Magic is stored last: what is behind it is valid once it is there.
	if regs.Load32(mmio.RegMagic) != mmio.Magic || regs.Load32(mmio.RegDeviceID) == 0 {
		return nil, errUnpublished
	}
	d := &Device{w: w, slot: slot, addr: addr, regs: regs, id: virtio.DeviceID(regs.Load32(mmio.RegDeviceID))}
	w.known = append(w.known, d)
	return d, nil
}

// block is the memory that the device's registers name as its own, less the header.
func (d *Device) block(header uint64) (*pool, error) {
	start := uint64(d.load(mmio.RegSHMBaseHigh))<<32 | uint64(d.load(mmio.RegSHMBaseLow))
	n := uint64(d.load(mmio.RegSHMLenHigh))<<32 | uint64(d.load(mmio.RegSHMLenLow))
	if _, err := d.w.space.Span(start, n); err != nil {
		return nil, fmt.Errorf("memory block: %w", err)
	}
	end := start + n
	if behind := header + mmio.HeaderSize; start < behind && header < end {
		start = behind
	}
	return newPool(d.w.space, start, end)
}

// guarded turns a fault of fn's into an error where the memory can vanish.
func (w *Window) guarded(fn func() error) (err error) {
	if w.guard {
		defer shmem.Recover(&err, shmem.Guard())
	}
	return fn()
}
