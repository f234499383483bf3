package hvl2

import (
	"bytes"
	"encoding/binary"
)

// refreshConfig publishes the configuration space if it reads differently by now.
func (s *Slot) refreshConfig() {
	if len(s.config) == 0 {
		return
	}
	s.dev.ReadConfig(s.scratch, 0)
	if !bytes.Equal(s.scratch, s.config) {
		s.publishConfig()
	}
}

// publishConfig writes the whole configuration space under the generation (2.5): odd meanwhile,
// also where a predecessor left it so. Every word goes from its old value to its new one in a
// single store, for drivers that read single fields and look at no generation.
func (s *Slot) publishConfig() {
	s.dev.ReadConfig(s.config, 0)
	s.generation |= 1
	s.store(RegConfigGeneration, s.generation)
	// A load-acquire behind the store-release: no word of the new configuration is visible
	// before the odd generation, on Arm either.
	s.load(RegConfigGeneration)
	var word [4]byte
	for off := 0; off < len(s.config); off += 4 {
		word = [4]byte{}
		copy(word[:], s.config[off:])
		s.store(RegConfig+uint64(off), binary.LittleEndian.Uint32(word[:]))
	}
	s.generation++
	s.store(RegConfigGeneration, s.generation)
}

// writeConfig is the driver's write of a configuration field.
func (s *Slot) writeConfig(off, width, val uint32) Result {
	if !s.dev.TakesConfig() || int(off+width) > len(s.config) {
		return Refused
	}
	var p [4]byte
	binary.LittleEndian.PutUint32(p[:], val)
	s.dev.WriteConfig(p[:width], int(off))
	s.refreshConfig()
	return Done
}
