package notify

import (
	"errors"
	"os"
	"sync/atomic"
)

// waiter joins a source, which may be exchanged or missing, with the token of
// Wake. No wake-up is lost, because
//
//   - a waker first posts the token and then interrupts the source that is
//     current; the waiter first loads the source, then looks for the token, then
//     waits on that source. So if it missed the token, the waker sees this source
//     or one that replaced it;
//   - a source that is replaced is closed after the exchange, which ends a wait
//     on it;
//   - only the waiter undoes an interrupt, and it looks for the token again
//     before it waits again, so undoing one that belongs to a newer Wake loses
//     nothing;
//   - a waker that finds the token posted leaves the interrupt to the one who
//     posted it.
//
// A waiter that meets a late interrupt without a token goes on waiting.
type waiter struct {
	token  token
	src    atomic.Pointer[source] // nil: nothing to wait for but the token
	closed atomic.Bool
}

func newWaiter(src *source) *waiter {
	w := &waiter{token: newToken()}
	w.src.Store(src)
	return w
}

// wait returns nil after a ring or a wake-up, ErrClosed after shut, and
// otherwise the error of the current source beside that source.
func (w *waiter) wait() (*source, error) {
	for {
		src := w.src.Load()
		if w.closed.Load() {
			return nil, ErrClosed
		}
		if src == nil {
			<-w.token
			if w.closed.Load() {
				return nil, ErrClosed
			}
			return nil, nil
		}
		if w.token.take() {
			return src, nil
		}
		err := src.wait()
		switch {
		case err == nil:
			return src, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			src.resume()
		case w.src.Load() == src && !w.closed.Load():
			return src, err
		}
	}
}

// Wake is the Wake of every line that has a waiter.
func (w *waiter) Wake() {
	if !w.token.post() {
		return
	}
	if src := w.src.Load(); src != nil {
		src.interrupt()
	}
}

// replace makes src current and reports it to the waiting goroutine as a ring.
func (w *waiter) replace(src *source) {
	if old := w.src.Swap(src); old != nil {
		_ = old.close()
	}
	w.Wake()
}

// drop removes src if it is still current.
func (w *waiter) drop(src *source) {
	if w.src.CompareAndSwap(src, nil) {
		_ = src.close()
	}
}

// shut makes every wait fail from now on and reports whether it was the first
// call; the caller then calls release.
func (w *waiter) shut() bool { return w.closed.CompareAndSwap(false, true) }

// release ends the pending wait and closes the source.
func (w *waiter) release() error {
	var err error
	if src := w.src.Swap(nil); src != nil {
		err = src.close()
	}
	w.token.post()
	return err
}
