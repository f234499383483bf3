package hvl2

import (
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// Stop tells the device to end, without waiting: Wake is called until Quiet says that it has.
// The page stays as it is, so that a successor can go on.
func (s *Slot) Stop() (quiet bool) {
	if s.later != nil {
		s.later.Stop()
	}
	return s.dev.End()
}

// Quiet reports whether the device of a stopped slot has let go of everything. Safe for
// concurrent use.
func (s *Slot) Quiet() bool { return s.dev.Quiet() }

// Remove takes a stopped device away in good order: a live driver is told that it needs a reset,
// and finds no device then. A successor begins anew. The error is a *shmem.FaultError.
func (s *Slot) Remove() (err error) {
	defer shmem.Recover(&err, shmem.Guard())
	if live(s.status) {
		s.setStatus(s.status | virtio.NeedsReset)
		s.countConfig()
	}
	s.store(RegDeviceID, 0)
	s.opts.Ring()
	return nil
}
