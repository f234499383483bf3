package vhostusertest

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Queue is one queue of a Guest: a Ring with its bells. One goroutine at a time may use it, but
// while Place, Enable, Disable and Stop speak to the back-end, another one may drive the Ring.
type Queue struct {
	*Ring
	Index int

	guest      *Guest
	kick, call *Bell // nil where notifications are messages
	called     chan struct{}
}

func newQueue(g *Guest, i int, r *Ring, n Notify) (*Queue, error) {
	q := &Queue{Ring: r, Index: i, guest: g, called: make(chan struct{}, 1)}
	if n == InBand {
		return q, nil
	}
	var err error
	if q.kick, err = NewKick(n); err != nil {
		return nil, err
	}
	if q.call, err = NewCall(n); err != nil {
		return nil, errors.Join(err, q.close())
	}
	go func() {
		for q.call.wait() == nil {
			q.poke()
		}
	}()
	return q, nil
}

func (q *Queue) close() error {
	var err error
	for _, b := range []*Bell{q.kick, q.call} {
		if b != nil {
			err = errors.Join(err, b.Close())
		}
	}
	return err
}

// poke leaves a token for whoever waits.
func (q *Queue) poke() {
	select {
	case q.called <- struct{}{}:
	default:
	}
}

// Place tells the back-end all of the ring but that it is enabled. It begins at the used index:
// what was offered before that has come back.
func (q *Queue) Place() error { return q.PlaceAt(q.UsedIdx()) }

// PlaceAt is Place with another index to begin at.
func (q *Queue) PlaceAt(base uint16) error {
	fe, m := q.guest.FrontEnd, q.guest.Memory
	if err := fe.SetVringNum(q.Index, uint32(q.Size)); err != nil {
		return err
	}
	if err := fe.SetVringBase(q.Index, base); err != nil {
		return err
	}
	if err := fe.SetVringAddr(q.Index, m.User(q.Desc), m.User(q.Layout.Used), m.User(q.Avail)); err != nil {
		return err
	}
	if q.kick == nil {
		return nil
	}
	if err := fe.SetVringKick(q.Index, q.kick.Theirs); err != nil {
		return err
	}
	return q.RenewCall()
}

// RenewCall tells the back-end again by what descriptor to call.
func (q *Queue) RenewCall() error {
	return q.guest.FrontEnd.SetVringCall(q.Index, q.call.Theirs)
}

// Enable enables the ring.
func (q *Queue) Enable() error { return q.guest.FrontEnd.SetVringEnable(q.Index, true) }

// Disable disables the ring.
func (q *Queue) Disable() error { return q.guest.FrontEnd.SetVringEnable(q.Index, false) }

// Stop stops the ring and returns where it got to.
func (q *Queue) Stop() (base uint16, err error) { return q.guest.FrontEnd.GetVringBase(q.Index) }

// Kick kicks if the device wants it.
func (q *Queue) Kick() error {
	if !q.NeedKick() {
		return nil
	}
	return q.ForceKick()
}

// ForceKick kicks whether the device wants it or not.
func (q *Queue) ForceKick() error {
	if q.kick == nil {
		return q.guest.FrontEnd.KickInBand(q.Index)
	}
	return q.kick.Ring()
}

// Wait waits for a call, d at most, and reports whether one came.
func (q *Queue) Wait(d time.Duration) (called bool) {
	select {
	case <-q.called:
		return true
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-q.called:
		return true
	case <-timer.C:
		return false
	}
}

// Next waits for the next chain that the device gives back. It looks at the ring only at calls,
// as a guest does: one that is missing is an error after the Patience of the package.
func (q *Queue) Next() (Elem, error) {
	for {
		e, ok, err := q.Used()
		if ok || err != nil {
			return e, err
		}
		if q.Arm() {
			continue
		}
		called := q.Wait(Patience)
		q.Disarm()
		if called {
			continue
		}
		return e, fmt.Errorf("queue %d: no call for %v; used index %d, taken %d, offered %d: %w",
			q.Index, Patience, q.UsedIdx(), q.Taken(), q.Offered(), os.ErrDeadlineExceeded)
	}
}

// Do offers one chain, kicks, and waits for the next one that comes back.
func (q *Queue) Do(bufs ...Buffer) (Elem, error) {
	if _, err := q.Offer(bufs...); err != nil {
		return Elem{}, err
	}
	if err := q.Kick(); err != nil {
		return Elem{}, err
	}
	return q.Next()
}
