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
// FinishReset after each Wake, and other writes are ignored.
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
	added := s &^ d.status
	if added&Failed != 0 {
		d.status |= Failed
		d.say("the driver gave up on the device")
		d.end(ErrEnded)
		return d.status
	}
	if d.status&^s&^NeedsReset != 0 {
		d.say("only a reset clears status bits, write ignored", "status", d.status, "written", s)
		return d.status
	}
	d.status |= added & (Acknowledge | Driver)
	if added&FeaturesOK != 0 {
		if err := d.acceptable(); err != nil {
			d.say("features refused", "err", err)
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
		d.forget()
	}
	return !d.resetting
}

// ReadConfig fills p from the configuration space at offset off; what lies beyond it reads 0.
func (d *Device) ReadConfig(p []byte, off int) {
	clear(p)
	if off < 0 || off >= d.info.ConfigLen {
		return
	}
	d.config("ReadConfig", func() {
		d.backend.ReadConfig(p[:min(len(p), d.info.ConfigLen-off)], off)
	})
}

// TakesConfig reports whether the driver may write the configuration space at all.
func (d *Device) TakesConfig() bool {
	_, ok := d.backend.(ConfigWriter)
	return ok
}

// WriteConfig takes the driver's write to the configuration space. What is read-only or beyond
// its end is ignored and logged.
func (d *Device) WriteConfig(p []byte, off int) {
	w, ok := d.backend.(ConfigWriter)
	if !ok || off < 0 || off > d.info.ConfigLen || len(p) > d.info.ConfigLen-off {
		d.say("configuration write ignored", "offset", off, "bytes", len(p))
		return
	}
	d.config("WriteConfig", func() {
		if err := w.WriteConfig(p, off); err != nil {
			d.say("configuration write refused", "offset", off, "err", err)
		}
	})
}

// Generation counts the changes of the configuration space (2.5).
func (d *Device) Generation() uint32 { return d.generation.Load() }

// config makes one call about the configuration space at a time. A panic of the backend breaks
// this device, not the whole process.
func (d *Device) config(where string, call func()) {
	if err := d.configCall(where, call); err != nil {
		d.fail(nil, err)
	}
}

func (d *Device) configCall(where string, call func()) (err error) {
	d.configMu.Lock()
	defer d.configMu.Unlock()
	defer func() {
		if r := recover(); r != nil {
			err = d.panicked(where, r)
		}
	}()
	call()
	return nil
}
