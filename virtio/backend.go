package virtio

import "context"

// Info describes a device to its driver. It does not change.
type Info struct {
	ID       DeviceID
	Features Features // of the device type; ring and transport bits are the transport's
	// Queues holds the largest size of each queue, powers of two; 0 means DefaultQueueSize.
	// A transport may offer less.
	Queues    []uint16
	ConfigLen int // bytes of device configuration space (2.5)
	// InOrder says that every queue is completed in the order it was made available, so that
	// the successor of a killed monitor can tell what is left to do from the rings alone.
	InOrder bool
	// Redo says that the device bears it when its requests are done again, in any order: what
	// a monitor had taken when it was killed, its successor does once more. A device that
	// completes in order bears it, too.
	Redo bool
}

// DefaultQueueSize is the largest queue size of a device that names none.
const DefaultQueueSize = 256

// Backend is a device, the part an integrator writes. It knows queues and the host, never
// registers, and serves one driver at a time.
type Backend interface {
	// Info says the same whenever it is called. Safe for concurrent use.
	Info() Info
	// ReadConfig fills p with the configuration space from offset off; the range lies within
	// ConfigLen. Called at any time, one call of ReadConfig or WriteConfig at a time.
	ReadConfig(p []byte, off int)
	// Serve is one life of the driver, from DRIVER_OK to reset. It returns soon after its
	// context ends, which happens at reset, fault or shutdown, and with it every goroutine it
	// started: the driver waits for that. From then on every access to the driver's memory
	// fails. What the driver can see of a device's state starts afresh with the next call.
	// Calls never overlap. Returning while the context lasts marks the device as broken until
	// the driver resets it (DEVICE_NEEDS_RESET, 2.1.2), and the error says why; so does a
	// panic, but only on the goroutine of Serve itself.
	Serve(ctx context.Context, s *Session) error
}

// ConfigWriter is a Backend whose configuration space the driver may write.
type ConfigWriter interface {
	// WriteConfig takes the driver's write of p at offset off, within ConfigLen. An error is
	// logged and the write ignored. Called at any time, also while Serve runs, one call of
	// ReadConfig or WriteConfig at a time.
	WriteConfig(p []byte, off int) error
}

// Negotiator is a Backend that has a say in which subsets of its features go together (2.2.2).
type Negotiator interface {
	// Negotiate refuses a feature set by an error. The set is a subset of what was offered, ring
	// and transport bits included. A set that was refused never reaches Serve. Called from the
	// transport's goroutine; it must not block.
	Negotiate(Features) error
}
