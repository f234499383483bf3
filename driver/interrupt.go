package driver

// listen waits for a ring and looks at everything.
func (w *Window) listen() error { return w.opts.Line.Wait() }

// fail ends the Window for good.
func (w *Window) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}
