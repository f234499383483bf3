package console

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hypervisorless/virtio/vring"
)

// Port is one byte stream between the driver and the host.
type Port struct {
	// Name is what the driver is told to call the port (PORT_NAME, 5.3.6.2). A port with a
	// name is a byte channel, one without is a console.
	Name     string
	Endpoint Endpoint
}

func (p Port) console() bool { return p.Name == "" }

// PortStats is a snapshot of one port.
type PortStats struct {
	Name     string
	Attached bool   // somebody is at the host's end
	Waiting  int    // bytes of input that were read from the host and wait for the driver
	Dropped  uint64 // bytes of output that nobody was there to take
}

// window is the size of a console in characters; 0, 0 is not known.
type window struct{ cols, rows uint16 }

// port is a Port at work.
type port struct {
	Port
	index   int
	in      *fifo
	dropped atomic.Uint64

	// The rest belongs to one of the session's goroutines; sessions do not overlap.
	rx, tx                   vring.Chain
	out                      [4 << 10]byte
	toldDetached, toldFailed bool // the log knows

	// Guarded by Device.mu.
	attached bool
	window   window
	ended    error // of the input
}

// queues are the numbers of the port's receive and transmit queues (5.3.2).
func (p *port) queues() (rx, tx int) {
	if p.index == 0 {
		return 0, 1
	}
	return 2 + 2*p.index, 3 + 2*p.index
}

func (p *port) String() string {
	if p.Name != "" {
		return fmt.Sprintf("%d (%s)", p.index, p.Name)
	}
	return fmt.Sprint(p.index)
}

// pump reads the host until its input ends, or the device is closed.
func (p *port) pump(closed <-chan struct{}) (err error) {
	defer func() {
		if r := recover(); r != nil { // on our goroutine it would cost the whole process
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	for {
		room := p.in.room()
		if len(room) == 0 {
			select {
			case <-p.in.drained:
				continue
			case <-closed:
				return io.EOF
			}
		}
		n, err := p.Endpoint.Read(room)
		if n > 0 {
			p.in.put(n)
		}
		if err != nil {
			return err
		}
	}
}

// ofTheDriver tells an error of the driver's buffer from the end of the session, which the
// queue's Next reports in its own words.
func ofTheDriver(err error) bool { return !errors.Is(err, vring.ErrShut) }
