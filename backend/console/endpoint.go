package console

import (
	"errors"
	"io"
	"net"
	"time"
)

// Endpoint is the host's end of a port. Any net.Conn is one.
//
// Read waits for input. It is called from one goroutine, for as long as the Device lives, and
// its first error is the end of the input: io.EOF a quiet one, any other is logged. A client
// that comes and goes is the Endpoint's own affair.
//
// Write waits until the host took everything, but not beyond the deadline: then it returns
// os.ErrDeadlineExceeded at once, also if it waits already. It is called by one goroutine at a
// time. ErrDetached means that nobody is there to take it. After an error the rest of the
// output is dropped; later output is tried again.
//
// SetWriteDeadline is called from any goroutine. Its error is ignored: an Endpoint without
// deadlines must not keep a Write waiting for long, since the driver's reset waits with it.
//
// Close ends a Read and a Write under way.
type Endpoint interface {
	io.ReadWriteCloser
	SetWriteDeadline(time.Time) error
}

var _ Endpoint = net.Conn(nil)

// ErrDetached is returned from the Write of an Endpoint that nobody is attached to.
var ErrDetached = errors.New("nobody is attached")

// Attacher is an Endpoint whose other end comes and goes: drivers that speak MULTIPORT are
// told (PORT_OPEN, 5.3.6.2). Other Endpoints count as attached all the time.
type Attacher interface {
	// OnAttach names the function to call when somebody attached (true) or left (false), one
	// call at a time, and at once if somebody is attached already. fn is quick, and does not
	// call the Endpoint.
	OnAttach(fn func(attached bool))
}

// Sizer is an Endpoint that knows the size of its window.
type Sizer interface {
	// OnResize names the function to call when the size changed, one call at a time, and at
	// once if it is known already. fn is quick, and does not call the Endpoint.
	OnResize(fn func(cols, rows uint16))
}

// tryWriter is an Endpoint that can write without waiting, which spares the device a look at
// the used ring before every Write. Nothing written and no error is a host that would keep us
// waiting.
type tryWriter interface {
	TryWrite(p []byte) (n int, err error)
}
