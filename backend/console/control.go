package console

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// The control queues (5.3.2).
const (
	queueControlReceive  = 2
	queueControlTransmit = 3
)

// Events of control messages (5.3.6.2).
const (
	deviceReady = 0 // driver: it can be told of ports
	portAdd     = 1 // device: there is such a port
	portReady   = 3 // driver: it knows the port
	consolePort = 4 // device: the port is a console
	resizePort  = 5 // device: the size of its window
	portOpen    = 6 // both: somebody is at this end
	portName    = 7 // device: what to call it
)

// A control message is le32 port, le16 event, le16 value, and with some events more (5.3.6.2).
const controlHeader = 8

// maxName is the longest name of a port; drivers have room for little more.
const maxName = 64

// event is a set of things that the driver is to be told of a port, as bits. The first
// bit is told first: a port exists before it has a name, and what can fail for want of room
// comes last.
type event uint8

const (
	tellAdd event = 1 << iota
	tellConsole
	tellName
	tellOpen
	tellSize
	tellEnd
)

// said notes that the driver was told of one event of a port.
func (l *life) said(port int, e event) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	s := &l.ports[port]
	s.todo &^= e
	switch e {
	case tellAdd:
		s.added = true
	case tellOpen:
		s.told = !s.told
		if s.flips--; s.flips > 0 {
			s.todo |= tellOpen
		}
	}
}

// flip changes what the driver is to believe of "attached". A client that was replaced is
// two changes, so that the driver sees it go; more are not worth telling. Callers hold d.mu.
func (s *portState) flip() {
	if s.flips++; s.flips > 2 {
		s.flips -= 2
	}
	s.todo |= tellOpen
}

// next is the port and event to tell next. ok is false when there is nothing to say.
func (l *life) next() (port int, e event, ok bool) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	for e = tellAdd; e < tellEnd; e <<= 1 {
		for i := range l.ports {
			if l.ports[i].todo&e != 0 {
				return i, e, true
			}
		}
	}
	return 0, 0, false
}

// message is the control message for an event of a port, as things are now, and how many
// bytes of it are of no use without the rest.
func (l *life) message(port int, e event) (b []byte, need int) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	number := [...]uint16{portAdd, consolePort, portName, portOpen, resizePort}[bits.TrailingZeros8(uint8(e))]
	value := uint16(1)
	switch {
	case e == tellOpen && l.ports[port].told, e == tellSize:
		value = 0
	}
	b = binary.LittleEndian.AppendUint32(l.text[:0], uint32(port))
	b = binary.LittleEndian.AppendUint16(b, number)
	b = binary.LittleEndian.AppendUint16(b, value)
	need = controlHeader
	switch e {
	case tellName:
		b = append(b, l.d.ports[port].Name...) // what does not fit is cut off
	case tellSize:
		w := l.d.ports[port].window
		if l.d.opts.RowsFirst {
			w.cols, w.rows = w.rows, w.cols
		}
		b = binary.LittleEndian.AppendUint16(b, w.cols)
		b = binary.LittleEndian.AppendUint16(b, w.rows)
		need = len(b)
	}
	l.text = b
	return b, need
}

// resized has the driver told of a port's window. Callers hold d.mu.
func (l *life) resized(p *port) {
	s := &l.ports[p.index]
	if s.ready && p.console() {
		s.todo |= tellSize
		poke(l.news)
	}
}

// flipped has the driver told that somebody came or left. Callers hold d.mu.
func (l *life) flipped(p *port) {
	if s := &l.ports[p.index]; s.ready {
		s.flip()
		poke(l.news)
	}
}

// command takes a control message of the driver. An error means that it makes no sense.
func (l *life) command(port uint32, event, value uint16) error {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if event == deviceReady {
		if value == 0 {
			return fmt.Errorf("the driver could not set up the device")
		}
		if !l.announced {
			l.announced = true
			for i := range l.ports {
				l.ports[i].todo = tellAdd
			}
			poke(l.news)
		}
		return nil
	}
	if port >= uint32(len(l.ports)) || !l.ports[port].added {
		return fmt.Errorf("event %d for port %d, which was never added", event, port)
	}
	p, s := l.d.ports[port], &l.ports[port]
	switch event {
	case portReady:
		if value == 0 {
			s.ready = false
			return fmt.Errorf("the driver could not set up port %v", p)
		}
		if !s.ready {
			s.ready = true
			l.introduce(p, s)
		}
	case portOpen:
		s.open.Store(value != 0)
		poke(p.in.filled)
	default:
		return fmt.Errorf("unknown event %d for port %v", event, p)
	}
	return nil
}

// introduce has the driver told all there is to know of a port. Callers hold d.mu.
func (l *life) introduce(p *port, s *portState) {
	s.todo, s.flips, s.told = 0, 0, s.vague && !p.attached
	if p.console() {
		s.todo |= tellConsole
		if p.window != (window{}) {
			s.todo |= tellSize
		}
	} else {
		s.todo |= tellName
	}
	if p.attached || s.vague {
		s.flip()
	}
	s.vague = false
	poke(l.news)
}
