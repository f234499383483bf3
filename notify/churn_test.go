package notify

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// Connections come and go under a Wait while it is rung and woken; every wake-up
// and every connection must still end a Wait. A waker asks again only when it
// was seen, so one loss stops the test.
func TestListenChurn(t *testing.T) {
	const wakers, connections = 2, 300
	path := bellPath(t)
	host := listen(t, path)
	var asked, seen [wakers]atomic.Int64
	var told [wakers]chan struct{}
	var over atomic.Bool
	var all sync.WaitGroup
	for i := range wakers {
		told[i] = make(chan struct{}, 1)
		all.Go(func() {
			for n := int64(1); !over.Load(); n++ {
				asked[i].Store(n)
				host.Wake()
				for seen[i].Load() != n {
					<-told[i]
				}
			}
		})
	}
	all.Go(func() {
		for ; !over.Load(); runtime.Gosched() {
			if err := host.Raise(); err != nil {
				t.Error(err)
			}
		}
	})
	waiter := start(func() error {
		for {
			if err := host.Wait(); err != nil {
				return err
			}
			for i := range wakers {
				if n := asked[i].Load(); n != seen[i].Load() {
					seen[i].Store(n)
					told[i] <- struct{}{}
				}
			}
		}
	})
	must(t, withinLong(t, "a connection", func() error {
		var before Line
		for i := range connections {
			guest, err := DialUnix(path)
			if err != nil {
				return err
			}
			if err := guest.Wait(); err != nil { // the ring of a new connection
				return err
			}
			if err := guest.Raise(); err != nil {
				return err
			}
			switch { // both ways to go: before the next one comes, and by its coming
			case i%2 == 0:
				err = guest.Close()
			case before != nil:
				err = before.Close()
			}
			if err != nil {
				return err
			}
			before = guest
		}
		over.Store(true)
		all.Wait()
		return nil
	}))
	must(t, host.Close())
	wantErr(t, finished(t, "waiter", waiter), ErrClosed)
}
