package shmem

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// FaultError says that an access to shared memory faulted: its file was truncated, its UIO
// device unbound, or the memory is of another Kind than its Region claims. The device that used
// it is lost; the process is not.
type FaultError struct{ Addr uintptr }

func (e *FaultError) Error() string {
	return fmt.Sprintf("shared memory vanished or refused an access: fault at %#x", e.Addr)
}

// Guard makes faults of the calling goroutine panics until Recover; a goroutine it starts needs
// a Guard of its own. Without one a fault ends the process, and no recover helps. Guards nest.
// Use the two together, with a named result err:
//
//	defer shmem.Recover(&err, shmem.Guard())
func Guard() (before bool) { return debug.SetPanicOnFault(true) }

// Recover ends a Guard; it must be deferred. A fault in between becomes a *FaultError in *err;
// every other panic goes on.
func Recover(err *error, before bool) {
	debug.SetPanicOnFault(before)
	if r := recover(); r != nil {
		*err = Caught(r)
	}
}

// Caught turns the recovered value of a fault into a *FaultError and panics again with any
// other value, for deferred functions that have more to do than Recover.
func Caught(r any) error {
	if e, ok := r.(runtime.Error); ok {
		// The runtime gives an address only where it is not a nil dereference.
		if a, ok := e.(interface{ Addr() uintptr }); ok {
			return &FaultError{Addr: a.Addr()}
		}
	}
	panic(r)
}
