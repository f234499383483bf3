package virtio

// Status is the device status field as the driver is to read it (2.1).
func (d *Device) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

// SetStatus takes a modern driver's write of the status field (2.1, 3.1.1) and returns what
// the field reads then. Bits may only be added; FEATURES_OK stays clear when the features are
// not acceptable; DRIVER_OK without it is ignored; FAILED ends the session. Writing 0 begins a
// reset, and the result is 0 only when it is complete: until then the transport asks
// FinishReset after each Wake.
func (d *Device) SetStatus(s Status) Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s == 0 {
		d.resetting = true
		d.end(ErrEnded)
		d.finishReset()
		return d.status
	}
	if d.resetting {
		return d.status
	}
	added := s &^ d.status & (Acknowledge | Driver | FeaturesOK | DriverOK | Failed)
	if lost := d.status &^ s &^ NeedsReset; lost != 0 {
		d.log.Warn("status bits can be cleared by a reset only; write ignored", "status", d.status, "written", s)
		return d.status
	}
	if added&Failed != 0 {
		d.log.Warn("the driver gave up on the device")
		d.status |= Failed
		d.end(ErrEnded)
		return d.status
	}
	d.status |= added & (Acknowledge | Driver)
	if added&FeaturesOK != 0 {
		if err := d.acceptable(); err != nil {
			d.log.Warn("features refused", "err", err)
		} else {
			d.status |= FeaturesOK
		}
	}
	if added&DriverOK != 0 && d.status&(FeaturesOK|NeedsReset|Failed) == FeaturesOK {
		d.status |= DriverOK
		d.start()
	}
	return d.status
}

// FinishReset completes a reset whose session has let go by now and reports whether none is
// under way any more.
func (d *Device) FinishReset() (done bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.finishReset()
}

func (d *Device) finishReset() bool {
	if d.resetting && d.quiet() {
		d.resetting, d.status, d.broken, d.driver = false, 0, nil, Features{}
	}
	return !d.resetting
}

// ReadConfig fills p from the configuration space at offset off; what lies beyond it reads 0.
func (d *Device) ReadConfig(p []byte, off int) {
	clear(p)
	if off < 0 || off >= d.info.ConfigLen {
		return
	}
	d.configMu.Lock()
	defer d.configMu.Unlock()
	d.backend.ReadConfig(p[:min(len(p), d.info.ConfigLen-off)], off)
}

// WriteConfig takes the driver's write to the configuration space. What is read-only or beyond
// its end is ignored and logged.
func (d *Device) WriteConfig(p []byte, off int) {
	w, ok := d.backend.(ConfigWriter)
	if !ok || off < 0 || off > d.info.ConfigLen || len(p) > d.info.ConfigLen-off {
		d.log.Warn("configuration write ignored", "offset", off, "bytes", len(p))
		return
	}
	d.configMu.Lock()
	defer d.configMu.Unlock()
	if err := w.WriteConfig(p, off); err != nil {
		d.log.Warn("configuration write refused", "offset", off, "err", err)
	}
}

// Generation counts the changes of the configuration space (2.5).
func (d *Device) Generation() uint32 { return d.generation.Load() }

// configChanged is called by a session whose configuration space changed.
func (d *Device) configChanged() {
	d.generation.Add(1)
	d.transport.NotifyConfig()
}
