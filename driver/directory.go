package driver

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
	"github.com/hypervisorless/virtio/virtio"
)

// directory is what the header of a directory says, all of it checked.
type directory struct {
	layout        uint32
	entries       shmem.Span
	count, stride uint64
}

// lookDirectory returns the devices of hvl-v2 that the window's directory names; none where
// there is no directory, or none of them is there yet.
func (w *Window) lookDirectory() ([]*Device, error) {
	header, err := w.space.Span(w.opts.Addr+hvl2.DirectoryOff, hvl2.DirSize)
	if err != nil {
		return nil, err
	}
	if header.Load32(hvl2.DirMagic) != hvl2.Ident {
		return nil, nil
	}
	d, err := w.readDirectory(header)
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	if d.layout != w.layout {
		// Whatever was found before is not there any more.
		w.known = slices.DeleteFunc(w.known, func(d *Device) bool { return d.page != nil && d.page.layout != 0 })
		w.layout = d.layout
	}
	var found []*Device
	for i := range d.count {
		device, err := w.entry(int(i), d.entries.Slice(i*d.stride, hvl2.EntryStride))
		if err == errUnpublished {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("directory: entry %d: %w", i, err)
		}
		found = append(found, device)
	}
	return found, nil
}

func (w *Window) readDirectory(header shmem.Span) (d directory, err error) {
	size := uint64(header.Load32(hvl2.DirWindowSize+4))<<32 | uint64(header.Load32(hvl2.DirWindowSize))
	off := uint64(header.Load32(hvl2.DirEntryOff))
	d.layout = header.Load32(hvl2.DirLayoutEpoch)
	d.count, d.stride = uint64(header.Load32(hvl2.DirEntryCount)), uint64(header.Load32(hvl2.DirEntryStride))
	switch version := header.Load32(hvl2.DirVersion); {
	case version>>hvl2.MajorShift != hvl2.Version>>hvl2.MajorShift:
		return d, fmt.Errorf("version %#x is not known here", version)
	case header.Load32(hvl2.DirRequired) != 0:
		return d, fmt.Errorf("requires unknown features %#x", header.Load32(hvl2.DirRequired))
	case header.Load32(hvl2.DirHeaderSize) < hvl2.DirSize, d.layout == 0:
		return d, errors.New("header is malformed")
	case size > w.all.Len():
		return d, fmt.Errorf("window has %#x bytes, %#x are mapped", size, w.all.Len())
	case d.count > hvl2.MaxEntries, d.stride < hvl2.EntryStride, d.stride%4 != 0, off%4 != 0:
		return d, fmt.Errorf("%d entries of %d bytes at %#x are malformed", d.count, d.stride, off)
	}
	// Both factors are small: no overflow.
	if d.entries, err = w.space.Span(w.opts.Addr+off, d.count*d.stride); err != nil {
		return d, fmt.Errorf("entries: %w", err)
	}
	return d, nil
}

// entry is the device an entry names, the same one each time; errUnpublished when it names none.
func (w *Window) entry(i int, e shmem.Span) (*Device, error) {
	if e.Load32(hvl2.EntryDeviceID) == 0 || e.Load32(hvl2.EntryFlags)&hvl2.EntryLegacy != 0 {
		return nil, errUnpublished
	}
	d, err := w.slotPage(i, uint64(e.Load32(hvl2.EntrySlotOff)))
	if err != nil {
		return nil, err
	}
	d.page.layout = w.layout
	mem := uint64(e.Load32(hvl2.EntryMemOff)) * hvl2.PageSize
	n := uint64(e.Load32(hvl2.EntryMemSize)) * hvl2.PageSize
	switch {
	case e.Load32(hvl2.EntryDeviceID) != uint32(d.id):
		return nil, fmt.Errorf("says device %d, the page %d", e.Load32(hvl2.EntryDeviceID), uint32(d.id))
	case e.Load32(hvl2.EntrySlotSize) < hvl2.PageSize:
		return nil, fmt.Errorf("a slot of %#x bytes", e.Load32(hvl2.EntrySlotSize))
	case mem != d.page.load64(hvl2.OffMemOff), n != d.page.load64(hvl2.OffMemSize):
		return nil, fmt.Errorf("says memory %#x+%#x, the page %#x+%#x", mem, n,
			d.page.load64(hvl2.OffMemOff), d.page.load64(hvl2.OffMemSize))
	}
	return d, nil
}

// Page returns the device of hvl-v2 whose slot page lies at off, a multiple of 4096, in the
// mapped memory: for whom a device tree or a board's manual names pages, and no directory does.
// The device's memory lies where the page says, counted from the page itself.
func (w *Window) Page(off uint64) (d *Device, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	err = w.guarded(func() (err error) {
		d, err = w.slotPage(len(w.known), off)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("driver: slot page at %#x: %w", off, err)
	}
	return d, nil
}

// slotPage is the device behind the slot page at off.
func (w *Window) slotPage(slot int, off uint64) (*Device, error) {
	addr := w.opts.Addr + off
	for _, d := range w.known {
		if d.page != nil && d.addr == addr && d.page.load(hvl2.RegDeviceID) == uint32(d.id) {
			return d, d.page.check()
		}
	}
	if off%hvl2.PageSize != 0 {
		return nil, errors.New("not a multiple of 4096")
	}
	regs, err := w.space.Span(addr, hvl2.PageSize)
	if err != nil {
		return nil, err
	}
	p := &page{w: w, span: regs}
	if err := p.check(); err != nil {
		return nil, err
	}
	// Page and memory are counted from the start of the window, which need not be all that is
	// mapped here.
	mem := off - p.load64(hvl2.OffSlotOff) + p.load64(hvl2.OffMemOff)
	n := p.load64(hvl2.OffMemSize)
	if n == 0 || mem%hvl2.PageSize != 0 || mem < off+hvl2.PageSize && off < mem+n {
		return nil, fmt.Errorf("memory of %#x bytes at %#x", n, mem)
	}
	base := p.load64(hvl2.OffAddrBase)
	p.space, err = shmem.NewSpace(shmem.Window{Addr: base, Region: w.opts.Region, Off: mem, Size: n})
	if err != nil {
		return nil, err
	}
	d := &Device{w: w, slot: slot, addr: addr, regs: regs, page: p, id: virtio.DeviceID(p.load(hvl2.RegDeviceID))}
	if d.pool, err = newPool(p.space, base, base+n); err != nil {
		return nil, err
	}
	w.known = append(w.known, d)
	return d, nil
}
