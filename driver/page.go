package driver

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
	"github.com/hypervisorless/virtio/virtio"
)

// page is the driver's side of one slot page of hvl-v2: registers are read with plain loads and
// written by transactions, one at a time, each of which is complete when it is acknowledged.
type page struct {
	w     *Window
	span  shmem.Span
	space *shmem.Space // the device's own memory, at the addresses it understands

	layout uint32 // LayoutEpoch of the directory that named the page; 0 for none

	mu       sync.Mutex // one transaction at a time, and whatever has to stay together
	seq      uint32     // of the last transaction
	attached bool       // drained and reset by this driver, and every transaction since answered
	lent     []*Queue   // queues of former lives: their memory is the device's until a reset

	events     sync.Mutex // the driver's two event words, and what an interrupt looks at
	armed      bool       // attached far enough for interrupts to count
	lost       bool       // the device said that it needs a reset
	epoch      uint32
	usedSeen   uint32
	configSeen uint32
	generation uint32
}

// How long an answer may take (docs/hvl-v2.md, "Waiting and liveness").
const (
	txnLooks = 100              // before the first sleep: some tens of microseconds
	txnStill = 3 * time.Second  // without a sign of life
	txnLimit = 60 * time.Second // in all
	oddLimit = 3 * time.Second  // of one update of the configuration space
)

func (p *page) load(word uint64) uint32 { return p.span.Load32(word) }

func (p *page) load64(word uint64) uint64 {
	return uint64(p.load(word)) | uint64(p.load(word+4))<<32
}

// write executes one register write. Errors are for errors.Is; after one that is not a result
// the transaction is still outstanding, and only attach helps. The lock is held.
func (p *page) write(ctx context.Context, reg, value uint32) error {
	return p.writeWidth(ctx, reg, value, 4)
}

func (p *page) writeWidth(ctx context.Context, reg, value, width uint32) error {
	if !p.attached {
		return ErrDetached
	}
	return p.transact(ctx, reg, value, width)
}

// transact is write before attach is through.
func (p *page) transact(ctx context.Context, reg, value, width uint32) error {
	if p.load(hvl2.OffTxnAck) != p.seq {
		p.attached = false
		return ErrDetached // somebody else writes here
	}
	p.seq++
	p.span.Store32(hvl2.OffTxnVal, value)
	p.span.Store32(hvl2.OffTxnCmd, hvl2.Command(reg, width))
	p.span.Store32(hvl2.OffTxnSeq, p.seq)
	if err := p.w.opts.Line.Raise(); err != nil {
		p.attached = false
		return err
	}
	if err := p.awaitAck(ctx); err != nil {
		p.attached = false
		return err
	}
	switch result := hvl2.Result(p.load(hvl2.OffTxnResult)); result {
	case hvl2.Done:
		return nil
	case hvl2.NoRegister:
		return fmt.Errorf("%w: no such register or width", ErrRefused)
	case hvl2.Refused:
		return ErrRefused
	case hvl2.ResetFirst, hvl2.Broken: // either way nothing else is taken
		p.attached = false
		return ErrNeedsReset
	default:
		return fmt.Errorf("%w: result %d", ErrRefused, result)
	}
}

// awaitAck waits until the device has caught up with seq.
func (p *page) awaitAck(ctx context.Context) error {
	answered := func() bool { return p.load(hvl2.OffTxnAck) == p.seq }
	for range txnLooks {
		if answered() {
			return nil
		}
		runtime.Gosched() // the device may be a goroutine that needs this processor
	}
	begun := time.Now()
	beat, moved, late := p.load(hvl2.OffBeat), begun, false
	err := p.w.await(ctx, func() (bool, error) {
		if answered() {
			return true, nil
		}
		now := time.Now()
		if b := p.load(hvl2.OffBeat); b != beat {
			beat, moved = b, now
		}
		late = now.Sub(moved) > txnStill || now.Sub(begun) > txnLimit
		return late, nil
	})
	if err == nil && late && !answered() {
		err = p.gone(ErrNoAnswer)
	}
	return err
}

// gone has an error say that the window was laid out anew since the page was found, if it was.
func (p *page) gone(err error) error {
	if p.layout != 0 && p.w.all.Load32(hvl2.DirectoryOff+hvl2.DirLayoutEpoch) != p.layout {
		return fmt.Errorf("%w: %w", ErrMoved, err)
	}
	return err
}

// verdict has what went wrong say so when the cause is a monitor that lost the device's state: then
// the registers read as after a reset, and no answer of theirs means anything.
func (p *page) verdict(err error) error {
	if err != nil && p.attached && p.needsReset() {
		return fmt.Errorf("%w: %w", ErrNeedsReset, err)
	}
	return err
}

// drain begins an attach: whatever a predecessor left outstanding is answered first, since the
// next number would otherwise equal its own. The ring comes before the wait: the predecessor
// may have died between its transaction and its ring.
func (p *page) drain(ctx context.Context) error {
	p.attached = false
	p.disarm()
	if err := p.check(); err != nil {
		return p.gone(err)
	}
	err := p.w.opts.Line.Raise()
	if err != nil {
		return err
	}
	p.seq = p.load(hvl2.OffTxnSeq)
	return p.awaitAck(ctx)
}

// reset ends an attach: from its acknowledgement on the memory is the driver's.
func (p *page) reset(ctx context.Context) error {
	epoch := p.load(hvl2.OffEpoch)
	if err := p.transact(ctx, hvl2.RegStatus, 0, 4); err != nil {
		return err
	}
	// Version 3 asks for a poll, though the acknowledgement said it all.
	if err := p.awaitReset(ctx); err != nil {
		return err
	}
	p.attached = true
	p.arm(epoch)
	for _, q := range p.lent {
		q.reclaim()
	}
	p.lent = nil
	return nil
}

func (p *page) awaitReset(ctx context.Context) error {
	begun, late := time.Now(), false
	err := p.w.await(ctx, func() (bool, error) {
		status := p.load(hvl2.RegStatus)
		late = time.Since(begun) > txnStill
		return status == 0 || late, fmt.Errorf("status is %#x", status)
	})
	if err == nil && late {
		err = ErrNoAnswer
	}
	return err
}

// check is what a page must say of itself (docs/hvl-v2.md, "Directory" and "Life of a slot").
func (p *page) check() error {
	version, own := p.load(hvl2.RegVersion), p.load(hvl2.OffPageVersion)
	switch {
	case p.load(hvl2.RegMagic) != hvl2.Magic, p.load(hvl2.RegDeviceID) == 0:
		return errUnpublished
	case p.load(hvl2.OffIdent) != hvl2.Ident:
		return fmt.Errorf("no slot page: its identity is %#x", p.load(hvl2.OffIdent))
	case version != 2 && version != 3, own>>hvl2.MajorShift != hvl2.Version>>hvl2.MajorShift:
		return fmt.Errorf("slot page is of version %d, %#x", version, own)
	case p.load(hvl2.OffRequired) != 0:
		return fmt.Errorf("slot page requires unknown transport features %#x", p.load(hvl2.OffRequired))
	}
	return nil
}

// features reads the set the device offers.
func (p *page) features(ctx context.Context) (f virtio.Features, err error) {
	for i := range uint32(virtio.FeatureBits / 32) {
		if err := p.write(ctx, hvl2.RegDeviceFeaturesSel, i); err != nil {
			return f, err
		}
		f = f.SetWord(i, p.load(hvl2.RegDeviceFeatures))
	}
	return f, nil
}
