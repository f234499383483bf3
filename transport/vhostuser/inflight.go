package vhostuser

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// area is memory of the front-end's in which we note what is in flight: one record a queue. The
// front-end keeps it when we die, and gives it to our successor.
type area struct {
	mapped  *shmem.Region
	off     uint64 // of the first record in the mapping
	queues  int
	entries uint16 // of each record
}

// recordAlign is the distance that records are rounded up to, as other back-ends do it.
const recordAlign = 64

// stride is the distance from record to record.
func stride(entries uint16) uint64 {
	n := recordHead + recordEntry*uint64(entries)
	return (n + recordAlign - 1) &^ (recordAlign - 1)
}

// checkInflight refuses what describes no area.
func checkInflight(d inflightDesc) error {
	if d.queues == 0 || d.queues > maxQueues || !vring.ValidSize(uint32(d.queueSize)) {
		return fmt.Errorf("an in-flight area for %d queues of size %d", d.queues, d.queueSize)
	}
	return nil
}

// onGetInflightFD makes an area and sends it. It is used once it comes back.
func (c *conn) onGetInflightFD(m *message) error {
	d := m.inflight
	if err := checkInflight(d); err != nil {
		return fatal(err)
	}
	d.size, d.offset = uint64(d.queues)*stride(d.queueSize), 0
	page := uint64(os.Getpagesize())
	r, err := shmem.NewMemfd("inflight", int64((d.size+page-1)&^(page-1)))
	if err != nil {
		return fatal(err)
	}
	defer r.Close()
	raw, err := r.File().SyscallConn()
	if err != nil {
		return fatal(err)
	}
	p := c.payload(m.inflightSize)
	clear(p)
	le.PutUint64(p, d.size)
	le.PutUint64(p[8:], d.offset)
	le.PutUint16(p[16:], d.queues)
	le.PutUint16(p[18:], d.queueSize)
	putHeader(c.out[:], uint32(getInflightFD), version|flagReply, len(p))
	var sent error
	err = raw.Control(func(fd uintptr) {
		_, _, sent = c.sock.WriteMsgUnix(c.out[:headerSize+len(p)], unix.UnixRights(int(fd)), nil)
	})
	if err = errors.Join(err, sent); err != nil {
		return fatal(err)
	}
	return nil
}

var (
	errLateArea = errors.New("an in-flight area for queues that are live")
	errAreaOff  = errors.New("an in-flight area at an offset that is no multiple of 8")
)

// onSetInflightFD takes an area over: a new one, or that of a predecessor.
func (c *conn) onSetInflightFD(m *message) error {
	d := m.inflight
	if err := checkInflight(d); err != nil {
		return fatal(err)
	}
	if need := uint64(d.queues) * stride(d.queueSize); d.size < need {
		return fatal(fmt.Errorf("an in-flight area of %d bytes, where %d queues of size %d need %d", d.size, d.queues, d.queueSize, need))
	}
	switch {
	case d.offset%8 != 0:
		return fatal(errAreaOff)
	case c.anyLive():
		return fatal(errLateArea)
	}
	// As a region of memory it has to lie in its file, and may begin anywhere in a page.
	r, err := mapRegion(regionDesc{size: d.size, offset: d.offset}, c.in.take(0))
	if err != nil {
		return fatal(err)
	}
	if err := c.released(); err != nil {
		_ = r.mapped.Close()
		return err
	}
	c.area.close()
	c.area = area{mapped: r.mapped, off: r.off, queues: int(d.queues), entries: d.queueSize}
	for i := range c.rings {
		c.rings[i].journal = nil
	}
	return nil
}

func (a *area) close() {
	if a.mapped != nil {
		_ = a.mapped.Close()
	}
	*a = area{}
}

// record is the memory of a queue's record.
func (a *area) record(i int) (shmem.Span, error) {
	if i >= a.queues {
		return shmem.Span{}, fmt.Errorf("the in-flight area is for %d queues", a.queues)
	}
	return a.mapped.Span(a.off+uint64(i)*stride(a.entries), stride(a.entries))
}
