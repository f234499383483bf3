package mmio

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
	"github.com/hypervisorless/virtio/virtio"
)

// page is a device with a slot page of its own (hvl-v2).
type page struct {
	*hvl2.Slot
	backend virtio.Backend
	talk    chatter
}

// AddPage puts a device into a slot page (hvl-v2) at a place of the caller's choice, beside
// whatever else the window holds: legacy headers, of which there may be seven then, other pages,
// or with the Bare layout a driver's whole RAM. Offsets are from the start of the window, which
// has to keep page, memory and in-flight words for this device; in the Table layout the legacy
// devices' pool ends before the first of them. Not after Run.
func (b *Bus) AddPage(name string, backend virtio.Backend, where hvl2.Place) error {
	if b.opts.Layout == Modern {
		return errors.New("mmio: the v2 layout places its pages itself: Add")
	}
	p, err := b.newPage(name, backend, where)
	if err != nil {
		return err
	}
	place, err := b.place.with(Place{
		Slot:   Slot{Name: name, ID: p.ID(), Mem: where.MemSize},
		Header: b.opts.Addr + where.SlotOff, Block: b.opts.Addr + where.MemOff, Size: where.MemSize, Page: p.Place(),
	})
	if err != nil {
		return fmt.Errorf("mmio: %w", err)
	}
	b.place, b.pages = place, append(b.pages, p)
	for i, s := range b.slots {
		s.place = place.Places[i]
	}
	return nil
}

// addPlaced puts a device into the next page of the Modern layout. The shares of the devices
// before it become smaller, so their slots are made anew: nobody has seen them yet.
func (b *Bus) addPlaced(name string, backend virtio.Backend, mem uint64) error {
	names := append(b.names, Slot{name, backend.Info().ID, mem})
	place, err := NewMap(Modern, b.opts.Addr, b.opts.Region.Size(), names...)
	if err != nil {
		return fmt.Errorf("mmio: %w", err)
	}
	var pages []*page
	for i, where := range place.Places {
		of := backend
		if i < len(b.pages) {
			of = b.pages[i].backend
		}
		p, err := b.newPage(where.Name, of, where.Page)
		if err != nil {
			return err
		}
		pages = append(pages, p)
	}
	b.names, b.place, b.pages = names, place, pages
	return nil
}

func (b *Bus) newPage(name string, backend virtio.Backend, where hvl2.Place) (*page, error) {
	p := &page{backend: backend}
	o := hvl2.Options{
		Region: b.opts.Region, Place: where, Wake: b.wake, Spin: b.opts.Spin, Log: b.log,
		Ring: func() {
			if err := b.opts.Line.Raise(); err != nil {
				p.say(b.log, "doorbell failed", "device", name, "err", err)
			}
		},
	}
	if b.opts.Layout == Modern || b.opts.Layout == Bare {
		o.Offer = b.opts.Offer // elsewhere it is meant for legacy drivers
	}
	slot, err := hvl2.New(name, backend, o)
	if err != nil {
		return nil, fmt.Errorf("mmio: %w", err)
	}
	p.Slot = slot
	return p, nil
}

func (p *page) say(log *slog.Logger, what string, args ...any) {
	if ok, unsaid := p.talk.may(time.Now()); ok {
		log.Warn(what, append(args, "unsaid", unsaid)...)
	}
}

// publishPages makes the slot pages ready, and then the directory that leads to them. Whatever a
// predecessor owed its drivers is made up for by one ring and the first scan.
func (b *Bus) publishPages(all shmem.Span) error {
	if len(b.pages) == 0 {
		return nil
	}
	for _, p := range b.pages {
		if err := p.Start(); err != nil {
			return err
		}
	}
	if b.opts.Layout != Bare {
		if b.opts.Layout == Tree && len(b.place.FDT()) > hvl2.DirectoryOff {
			return fmt.Errorf("the device tree reaches over the directory's place, %#x", hvl2.DirectoryOff)
		}
		if err := b.directory().Publish(all); err != nil {
			return err
		}
	}
	return b.opts.Line.Raise()
}

// keepDirectory writes the directory anew where boot code has cleared the window under us, as
// each page does with itself.
func (b *Bus) keepDirectory() error {
	if len(b.pages) == 0 || b.opts.Layout == Bare {
		return nil
	}
	all, err := b.space.Span(b.opts.Addr, b.opts.Region.Size())
	if err != nil || all.Load32(hvl2.DirectoryOff+hvl2.DirMagic) != 0 {
		return err
	}
	return b.directory().Publish(all)
}

func (b *Bus) directory() hvl2.Directory {
	d := hvl2.Directory{WindowSize: b.opts.Region.Size()}
	seen := map[virtio.DeviceID]uint32{}
	for _, p := range b.place.Places {
		where := p.Page
		d.Entries = append(d.Entries, hvl2.Entry{
			DeviceID: uint32(p.ID), Legacy: !p.Modern(), SlotOff: p.Header - b.opts.Addr, SlotSize: where.SlotSize,
			MemOff: where.MemOff, MemSize: where.MemSize, Instance: seen[p.ID],
		})
		seen[p.ID]++
	}
	return d
}

// removePages takes the pages and their directory away at an orderly end, so that no driver waits
// for a monitor that will not come.
func (b *Bus) removePages() error {
	if len(b.pages) == 0 {
		return nil
	}
	if b.opts.Layout != Bare {
		all, err := b.opts.Region.Span(0, b.opts.Region.Size())
		if err == nil {
			err = withdraw(all)
		}
		if err != nil {
			return b.lost(err)
		}
	}
	for _, p := range b.pages {
		if err := p.Remove(); err != nil {
			return b.lost(err)
		}
	}
	return nil
}

func withdraw(all shmem.Span) (err error) {
	defer shmem.Recover(&err, shmem.Guard())
	return hvl2.Withdraw(all)
}
