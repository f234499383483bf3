package vsock

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrNoDriver means that there is nobody on the other side: no driver has set the device up.
// It is an ENETUNREACH.
var ErrNoDriver = fmt.Errorf("no driver: %w", syscall.ENETUNREACH)

// ErrNoRoute is what a Router says of a port that leads nowhere. It is an ECONNREFUSED.
var ErrNoRoute = fmt.Errorf("nobody there: %w", syscall.ECONNREFUSED)

// Errors of connections, as they are known from other sockets.
var (
	errReset   = error(syscall.ECONNRESET)
	errRefused = error(syscall.ECONNREFUSED)
	errPipe    = error(syscall.EPIPE)
	errTooLong = error(syscall.EMSGSIZE)
	errFull    = error(syscall.ENOBUFS)
	errType    = error(syscall.EPROTONOSUPPORT)
	errInUse   = error(syscall.EADDRINUSE)
)

// What is wrong with a packet of the driver's.
var (
	errShort     = errors.New("packet is shorter than its header")
	errWritable  = errors.New("transmit buffer is device-writable")
	errReceive   = errors.New("receive buffer is not a device-writable one with room for a header")
	errNoRoom    = errors.New("receive buffer has no room for data")
	errEvent     = errors.New("event buffer has no room for an event")
	errForged    = errors.New("packet is not from the driver's CID")
	errElsewhere = errors.New("packet is not for the host")
	errKind      = errors.New("packet has a type that was not negotiated")
	errLength    = errors.New("packet is shorter than its header says")
	errUnknown   = errors.New("packet belongs to no connection")
	errOp        = errors.New("packet does not fit the state of its connection")
	errWindow    = errors.New("packet overruns the window of its connection")
	errCredit    = errors.New("packet claims to have consumed what was not sent")
	errLimit     = errors.New("no more connections")
)
