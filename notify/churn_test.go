package notify

import "testing"

// Connections are exchanged under a Wait while it is woken.
func TestListenNoWakeLostBesideConnections(t *testing.T) {
	path := bellPath(t)
	host := listen(t, path)
	var guest Line
	wakeRounds(t, host, 2000, func() (err error) {
		before := guest
		if guest, err = DialUnix(path); err != nil {
			return err
		}
		if before != nil {
			_ = before.Close()
		}
		return guest.Wait() // for the ring every connection begins with
	}, host.Raise)
	must(t, guest.Close())
}

// The same with a peer that leaves before the next one comes.
func TestListenNoWakeLostBesideDisconnections(t *testing.T) {
	path := bellPath(t)
	host := listen(t, path)
	wakeRounds(t, host, 2000, func() error {
		guest, err := DialUnix(path)
		if err != nil {
			return err
		}
		if err := guest.Wait(); err != nil {
			return err
		}
		if err := guest.Raise(); err != nil {
			return err
		}
		return guest.Close()
	}, host.Raise)
}

// Every connection ends a Wait, whether or not there was one before.
func TestListenNoConnectionLost(t *testing.T) {
	path := bellPath(t)
	host := listen(t, path)
	var guest Line
	must(t, withinLong(t, "Wait", func() error {
		for i := range 2000 {
			waiter := start(host.Wait)
			dawdle()
			next, err := DialUnix(path)
			if err != nil {
				return err
			}
			if err := next.Wait(); err != nil {
				return err
			}
			if err := <-waiter; err != nil {
				return err
			}
			if guest != nil {
				_ = guest.Close()
			}
			if guest = next; i%2 == 0 {
				_ = guest.Close()
			}
		}
		return nil
	}))
}

// An interrupt that comes after its Wake was already seen ends no Wait, and
// stands in the way of none.
func TestLateInterrupt(t *testing.T) {
	host, guest, err := EventfdPair()
	must(t, err)
	defer closeBoth(host, guest)
	for range 100 {
		done := start(host.Wait)
		host.(*eventfd).src.Load().interrupt()
		waitIsParked(t)
		must(t, guest.Raise())
		must(t, finished(t, "Wait", done))
	}
}
