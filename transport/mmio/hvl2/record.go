package hvl2

import (
	"github.com/hypervisorless/virtio/virtio"
)

// setState says whether a successor, and a driver, find a device that has to be reset first.
func (s *Slot) setState(resetFirst bool) {
	s.resetFirst = resetFirst
	var v uint32
	if resetFirst {
		v = 1
	}
	s.store(recState, v)
}

// clearRecord returns the record to its reset values: ready flags before addresses, and all of
// it before the state.
func (s *Slot) clearRecord() {
	for i := range s.queues {
		s.forgetQueue(i)
	}
	s.devFeatSel, s.drvFeatSel, s.queueSel, s.shmSel = 0, 0, 0, 0
	s.driver = virtio.Features{}
	for _, off := range []uint64{recDevFeatSel, recDrvFeatSel, recQueueSel, recSHMSel} {
		s.store(off, 0)
	}
	s.storeFeatures(recDriver, s.driver)
}

func (s *Slot) storeFeatures(off uint64, f virtio.Features) {
	for i := range uint32(virtio.FeatureBits / 32) {
		s.store(off+4*uint64(i), f.Word(i))
	}
}

func (s *Slot) loadFeatures(off uint64) (f virtio.Features) {
	for i := range uint32(virtio.FeatureBits / 32) {
		f = f.SetWord(i, s.load(off+4*uint64(i)))
	}
	return f
}

// recall reads what a predecessor left, once. None of it is believed yet.
func (s *Slot) recall() {
	s.registers = registers{
		ack: s.load(OffTxnAck), beat: s.load(OffBeat), epoch: s.load(OffEpoch), starts: s.load(OffStarts),
		resetFirst: s.load(recState) != 0,
		status:     virtio.Status(s.load(RegStatus)),
		devFeatSel: s.load(recDevFeatSel), drvFeatSel: s.load(recDrvFeatSel),
		queueSel: s.load(recQueueSel), shmSel: s.load(recSHMSel),
		driver:     s.loadFeatures(recDriver),
		queues:     s.queues,
		generation: s.load(RegConfigGeneration), configEvents: s.load(OffConfigEvents),
	}
	s.stats.status.Store(uint32(s.status))
	for i := range s.queues {
		rec := queueRecord(i)
		s.queues[i] = queue{
			size: s.load(rec + recSize), ready: s.load(rec+recFlags)&flagReady != 0,
			desc: s.load64(rec + recDesc), driver: s.load64(rec + recDriverArea), device: s.load64(rec + recDeviceArea),
		}
	}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	s.events.used = s.load(OffUsedEvents)
	clear(s.events.wanted)
}
