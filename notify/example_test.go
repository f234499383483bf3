package notify_test

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/hypervisorless/virtio/notify"
)

// A monitor sleeps until it is rung and then looks at everything: how many
// requests there are is in the shared memory, not in the rings.
func Example() {
	monitor, frontEnd := notify.NewPair()
	var requests, served atomic.Int64 // in shared memory, usually

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			if err := monitor.Wait(); errors.Is(err, notify.ErrClosed) {
				return
			}
			served.Store(requests.Load())
			_ = monitor.Raise()
		}
	}()

	for range 3 {
		requests.Add(1)
		_ = frontEnd.Raise() // may merge with the one before
	}
	for served.Load() < 3 {
		_ = frontEnd.Wait() // may return for less
	}
	fmt.Println("served", served.Load())

	_ = monitor.Close()
	<-stopped
	// Output: served 3
}
