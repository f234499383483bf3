package p9

import "github.com/hugelgupf/p9/linux"

// dialect is the name of the protocol, and of what a client speaks that begins so.
const dialect = "9P2000.L"

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

// version is Tversion msize[4] version[s]: everything begins anew.
func (r *request) version() error {
	msize := r.in.u32()
	version := string(r.in.str())
	if err := r.in.done(); err != nil {
		return err
	}
	if msize < MinMessage {
		return linux.EMSGSIZE
	}
	s := r.session
	msize = min(msize, s.dev.opts.MaxMessage)
	var others []*request
	s.mu.Lock()
	for _, o := range s.tags {
		if o != r {
			o.pins++
			others = append(others, o)
		}
	}
	s.mu.Unlock()
	for _, o := range others {
		s.callOff(o)
	}
	if !r.commit() {
		return errDropped
	}
	var next *table
	if understood(version) {
		version, next = dialect, newTable()
	} else {
		version = "unknown"
	}
	s.mu.Lock()
	before := s.table
	s.table, s.msize = next, msize
	if s.over && next != nil {
		next.closed = true
	}
	s.mu.Unlock()
	r.enter() // closing files may take long
	if before != nil {
		before.close()
	}
	r.out.u32(msize)
	r.out.str(version)
	return nil
}

// understood tells whether the client speaks the protocol, or an extension of it that it can do
// without.
func understood(version string) bool {
	return version == dialect || len(version) > len(dialect) && version[:len(dialect)+1] == dialect+"."
}
