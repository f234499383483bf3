package vhostuser

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// channel carries requests of ours to the front-end: a changed configuration, and with in-band
// notifications what would otherwise be signalled. Everything on it merges: what is wanted is a
// flag, and one goroutine sends.
type channel struct {
	fd     int
	kind   fdKind
	inband bool // signals go this way too
	config outgoing
	calls  []outgoing
	errs   []outgoing

	poke    chan struct{}
	replied chan struct{} // nil where no replies can come
	quit    chan struct{}
	done    sync.WaitGroup
}

// outgoing is one message, made beforehand: a pipe gets its memory, not a copy.
type outgoing struct {
	wanted atomic.Bool
	bytes  []byte
	vec    []unix.Iovec
}

func (o *outgoing) make(request, flags uint32, index int) {
	size := 0
	if index >= 0 {
		size = stateSize
	}
	o.bytes = make([]byte, headerSize+size)
	putHeader(o.bytes, request, version|flags, size)
	if index >= 0 {
		le.PutUint32(o.bytes[headerSize:], uint32(index))
	}
	o.vec = vec(o.bytes)
}

// openChannel starts a channel on a descriptor and takes it over.
func openChannel(fd int, kind fdKind, queues int, inband bool) *channel {
	ch := &channel{
		fd: fd, kind: kind, inband: inband, calls: make([]outgoing, queues), errs: make([]outgoing, queues),
		poke: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	ch.config.make(configChangeMsg, 0, -1)
	var flags uint32
	if inband && kind == socket {
		ch.replied = make(chan struct{}, 1)
		flags = flagNeedReply
	}
	for i := range queues {
		ch.calls[i].make(vringCallMsg, flags, i)
		ch.errs[i].make(vringErrMsg, flags, i)
	}
	ch.done.Add(1)
	go ch.run()
	return ch
}

// want has a message sent soon. It does not block.
func (ch *channel) want(o *outgoing) {
	o.wanted.Store(true)
	select {
	case ch.poke <- struct{}{}:
	default:
	}
}

// answered says that the front-end has sent something.
func (ch *channel) answered() {
	select {
	case ch.replied <- struct{}{}:
	default: // nobody waits, or there are no replies (nil)
	}
}

// close ends the channel.
func (ch *channel) close() {
	close(ch.quit)
	ch.done.Wait()
	_ = unix.Close(ch.fd)
}

// channelPause is between two attempts to send to a front-end that does not read.
const channelPause = 10 * time.Millisecond

func (ch *channel) run() {
	defer ch.done.Done()
	for {
		select {
		case <-ch.poke:
		case <-ch.quit:
			return
		}
		ok := ch.send(&ch.config, false)
		for i := range ch.calls {
			ok = ok && ch.send(&ch.errs[i], true) && ch.send(&ch.calls[i], true)
		}
		if !ok {
			return
		}
	}
}

// send sends a message if it is wanted, and reports whether to go on. One that the front-end is
// to answer is waited for: it has said that it wants one at a time.
func (ch *channel) send(o *outgoing, reply bool) bool {
	if !o.wanted.Swap(false) {
		return true
	}
	for {
		err := sendVec(ch.fd, ch.kind, o.vec, o.bytes)
		if err == nil {
			break
		}
		if err != unix.EAGAIN {
			return false // the front-end has closed its end: it hears nothing any more
		}
		select {
		case <-time.After(channelPause):
		case <-ch.quit:
			return false
		}
	}
	if !reply || ch.replied == nil {
		return true
	}
	select {
	case <-ch.replied:
		return true
	case <-ch.quit:
		return false
	}
}
