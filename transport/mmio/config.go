package mmio

import "bytes"

// syncConfig takes over what the driver wrote into the configuration space, if it may, and
// publishes what changed on our side. A device says so only to a session, so until there is one
// (live is false) every scan looks for itself: a driver reads what stands in memory.
func (s *slot) syncConfig(live bool) {
	if len(s.config) == 0 {
		return
	}
	changed := s.dirty.Load()
	if s.writable && s.takeConfig() {
		changed = true
	}
	if !changed && !live {
		s.dev.ReadConfig(s.scratch, 0)
		if !bytes.Equal(s.scratch, s.config) {
			s.publishConfig()
		}
		return
	}
	if !changed {
		return
	}
	s.dirty.Store(false) // before the reading: a change after it comes again
	s.publishConfig()
	if s.bus.opts.ConfigInterrupt && s.live && s.raise(InterruptConfig) == nil {
		s.ring()
	}
}

// takeConfig hands the words that the driver changed to the device and reports whether there
// were any.
func (s *slot) takeConfig() (changed bool) {
	now, known := s.scratch, s.config
	s.regs.ReadAt(now, RegConfig)
	if bytes.Equal(now, known) {
		return false
	}
	for off := 0; off < len(now); off += 4 {
		end := min(off+4, len(now))
		if !bytes.Equal(now[off:end], known[off:end]) {
			s.dev.WriteConfig(now[off:end], off)
		}
	}
	return true
}

// publishConfig writes the configuration space, whatever the driver made of it. The generation
// is odd meanwhile, for drivers that look.
func (s *slot) publishConfig() {
	if len(s.config) == 0 {
		return
	}
	s.dev.ReadConfig(s.config, 0)
	s.store(RegConfigGeneration, s.generation+1)
	// A load-acquire behind the store-release: no byte of the new configuration is visible
	// before the odd generation, on Arm either.
	s.load(RegConfigGeneration)
	s.regs.WriteAt(s.config, RegConfig)
	s.bus.at(pointConfig, s)
	s.generation += 2
	s.store(RegConfigGeneration, s.generation)
}
