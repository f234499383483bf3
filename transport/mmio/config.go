package mmio

import "bytes"

// syncConfig takes over what the driver wrote into the configuration space, if it may, and
// publishes what changed on our side, if anything did.
func (s *slot) syncConfig() {
	changed := s.dirty.Load()
	if s.dev.TakesConfig() && s.takeConfig() {
		changed = true
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
	n := s.dev.Info().ConfigLen
	now, known := s.scratch[:n], s.config[:n]
	s.regs.ReadAt(now, RegConfig)
	if bytes.Equal(now, known) {
		return false
	}
	for off := 0; off < n; off += 4 {
		end := min(off+4, n)
		if !bytes.Equal(now[off:end], known[off:end]) {
			s.dev.WriteConfig(now[off:end], off)
		}
	}
	return true
}

// publishConfig writes the configuration space, whatever the driver made of it. The generation
// is odd meanwhile, for drivers that look.
func (s *slot) publishConfig() {
	n := s.dev.Info().ConfigLen
	if n == 0 {
		return
	}
	config := s.config[:n]
	s.dev.ReadConfig(config, 0)
	s.store(RegConfigGeneration, s.generation+1)
	// A load-acquire behind the store-release: no byte of the new configuration is visible
	// before the odd generation, on Arm either.
	s.load(RegConfigGeneration)
	s.regs.WriteAt(config, RegConfig)
	s.generation += 2
	s.store(RegConfigGeneration, s.generation)
}
