package hvl2

import (
	"time"

	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// Scan looks at everything that the driver may have moved: the transaction words and the
// available index of every ready queue. It executes one transaction at most and never waits:
// one that has to wait for the device to let go of memory stays unacknowledged, and Wake asks
// for the next look. busy says that there was something to do. The error is a
// *shmem.FaultError: the window is gone.
func (s *Slot) Scan() (busy bool, err error) {
	defer shmem.Recover(&err, shmem.Guard())
	busy = s.transact()
	s.report()
	if s.dev.Kick() {
		busy = true
	}
	return busy, nil
}

// beatTime is how long the Beat stands still at most while a transaction is executed: half of
// what is promised, since a timer can be late.
const beatTime = 250 * time.Millisecond

// transact takes up a transaction, or goes on with the one that could not be completed.
func (s *Slot) transact() (busy bool) {
	if s.pending == nil {
		seq := s.load(OffTxnSeq)
		if seq == s.ack && seq != 0 {
			return false
		}
		if s.wiped() {
			s.reformat()
			return true
		}
		if seq == s.ack {
			return false
		}
		s.seq = seq
		s.result, s.pending = s.execute(s.load(OffTxnCmd), s.load(OffTxnVal))
	}
	if s.pending != nil && !s.pending() {
		s.stepBeat()
		s.lookLater()
		return true
	}
	s.pending = nil
	s.refreshView()
	if !live(s.status) {
		s.refreshConfig() // a device tells of changes to a session only
	}
	s.ack = s.seq
	if s.result != Done {
		s.stats.refusals.Add(1)
	}
	s.store(OffTxnResult, uint32(s.result))
	s.store(OffTxnAck, s.ack)
	s.opts.Ring()
	return true
}

func (s *Slot) stepBeat() {
	s.beat++
	s.store(OffBeat, s.beat)
}

// lookLater has the bus look again in time for the next Beat.
func (s *Slot) lookLater() {
	if s.later == nil {
		s.later = time.AfterFunc(beatTime, s.Wake)
		return
	}
	s.later.Reset(beatTime)
}

// execute does what a transaction says, or begins to: then wait tells whether it is complete.
// Every value is copied by now. What makes something live, the status and the ready flags, is
// the first to be stored on the way down and the last on the way up, so that a successor finds
// a record to go on from whenever this process dies; it executes the transaction once more.
func (s *Slot) execute(cmd, val uint32) (result Result, wait func() bool) {
	reg, width := cmd&(1<<widthShift-1), cmd>>widthShift
	if reg == RegStatus && width == 4 && val == 0 {
		s.dev.SetStatus(0)
		return Done, s.finishReset
	}
	if s.resetFirst {
		return ResetFirst, nil
	}
	if reg >= RegConfig && reg < OffIdent {
		if width != 1 && width != 2 && width != 4 || reg%width != 0 {
			return NoRegister, nil
		}
	} else if width != 4 {
		return NoRegister, nil
	}
	if reg == RegStatus {
		return s.writeStatus(val), nil
	}
	if s.status&(virtio.NeedsReset|virtio.Failed) != 0 {
		return Broken, nil
	}
	if reg >= RegConfig && reg < OffIdent {
		return s.writeConfig(reg-RegConfig, width, val), nil
	}
	switch reg {
	case RegDeviceFeaturesSel:
		s.devFeatSel = val
		s.store(recDevFeatSel, val)
	case RegDriverFeaturesSel:
		s.drvFeatSel = val
		s.store(recDrvFeatSel, val)
	case RegDriverFeatures:
		return s.writeFeatures(val), nil
	case RegQueueSel:
		s.queueSel = val
		s.store(recQueueSel, val)
	case RegSHMSel:
		s.shmSel = val
		s.store(recSHMSel, val)
	case RegQueueReady:
		return s.writeReady(val)
	case RegQueueReset:
		return s.resetQueue(val)
	case RegQueueSize, RegQueueDescLow, RegQueueDescHigh, RegQueueDriverLow, RegQueueDriverHigh,
		RegQueueDeviceLow, RegQueueDeviceHigh:
		return s.writeGeometry(reg, val), nil
	default:
		return NoRegister, nil
	}
	return Done, nil
}

// report tells the driver what became of the device since the last look: that it stopped, or
// that its configuration space reads differently. Nothing is said once a reset was asked for.
func (s *Slot) report() {
	if s.pending != nil || s.halted {
		return
	}
	stopped := s.dev.Status()&virtio.NeedsReset&^s.status != 0
	changed := s.dirty.Swap(false)
	if stopped {
		s.setStatus(s.status | virtio.NeedsReset)
	}
	if changed {
		s.refreshConfig()
	}
	if (stopped || changed) && s.status&virtio.DriverOK != 0 {
		s.countConfig()
		s.opts.Ring()
	}
}
