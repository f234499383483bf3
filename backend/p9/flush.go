package p9

// flush is Tflush oldtag[2]: when it is answered, the old message is back with the client, with
// its answer or with none.
func (r *request) flush() error {
	oldtag := r.in.u16()
	if err := r.in.done(); err != nil {
		return err
	}
	s := r.session
	s.mu.Lock()
	old := s.tags[oldtag]
	if old == r || old == nil {
		s.mu.Unlock()
		return nil
	}
	old.pins++
	s.mu.Unlock()
	s.callOff(old)
	return nil
}

// callOff ends a pinned request, or waits until it has been answered. It unpins it.
//
// A request that is inside a call of a File is given back at once: how long that takes, nobody
// knows. One that uses the driver's memory is waited for; that is never long. Who waits can be
// called off itself, so two that flush each other do not lock up.
func (s *session) callOff(old *request) {
	for {
		s.drops.Lock()
		called := old.state.CompareAndSwap(private, dropped)
		if called {
			s.dev.flushed.Add(1)
			s.dev.stuck.Add(1)
			s.ring.drop(old.message)
		}
		s.drops.Unlock()
		if called {
			old.cancel()
		}
		s.mu.Lock()
		if called && s.tags[old.tag] == old {
			delete(s.tags, old.tag)
		}
		old.wanted.Store(true)
		for st := old.state.Load(); st == busy || st == replying; st = old.state.Load() {
			s.moved.Wait()
		}
		if old.state.Load() != private {
			s.unpin(old)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}
