package p9

import "github.com/hugelgupf/p9/linux"

// dialect is the name of the protocol, and of what a client speaks that begins so.
const dialect = "9P2000.L"

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
