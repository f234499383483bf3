package virtio

import (
	"context"
	"errors"

	"github.com/hypervisorless/virtio/vring"
)

// HandleParallel is Handle for requests that may block: fn runs for each chain in a goroutine
// of its own, for as many chains at once as the queue has entries, and one that takes long
// hinders no other. The goroutines are kept, so that nothing is allocated for a chain. What is
// finished is published at once.
//
// When ctx or the session ends it returns without waiting for an fn that is still inside; a
// chain of an ended session answers that one with vring.ErrShut. A panic in fn ends the
// session. Of the queue's other methods only Finish, Drop and those that anyone may call go with
// it.
func (q *Queue) HandleParallel(ctx context.Context, fn func(*vring.Chain) error) error {
	return q.HandleBegun(ctx, nil, fn)
}

// HandleBegun is HandleParallel for requests that can name earlier ones: begin, unless it is
// nil, is called for each chain before its fn, and for one chain after the other in the order of
// the ring. It reads what identifies the request, and must not wait for anything.
func (q *Queue) HandleBegun(ctx context.Context, begin func(*vring.Chain), fn func(*vring.Chain) error) error {
	crew, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &parallel{Queue: q, ctx: crew, begin: begin, fn: fn, lost: make(chan error, 1), without: make(map[*vring.Chain]bool)}
	p.mu.Lock()
	q.crew = p
	p.hire()
	p.mu.Unlock()
	var err error
	select {
	case err = <-p.lost:
	case <-ctx.Done():
		err = ctx.Err()
	case <-q.session.ctx.Done():
		err = q.session.ctx.Err()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	p.over = true
	return q.leave(err)
}

// Finish gives back the chain that an fn of HandleParallel works on with what was written to it,
// before fn returns: ahead of any that is given back later. fn then returns vring.ErrShut. Safe
// for concurrent use.
func (q *Queue) Finish(c *vring.Chain) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ring != nil {
		q.Done(c)
		q.Flush()
	}
}

// Drop gives back, with length 0, a chain that an fn of HandleParallel is still busy with, for
// a request that was called off. The caller and that fn see to it between themselves that fn
// touches the chain no more; what it returns does not matter then, and as long as it does not
// return, another goroutine does its work. Safe for concurrent use.
func (q *Queue) Drop(c *vring.Chain) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ring != nil {
		q.ring.Refuse(c)
		q.Flush()
	}
	if p := q.crew; p != nil && !p.without[c] {
		p.without[c] = true
		p.workers--
		p.hire()
	}
}

// parallel is one call of HandleParallel. What belongs to the owner of a queue belongs to whoever
// holds its lock here.
//
// One goroutine at least waits for a kick while there may be room for another chain, and every
// one that takes a chain looks for the next before it starts to work: with both nothing is
// overlooked, and who is done takes the next chain without being woken.
type parallel struct {
	*Queue
	ctx   context.Context
	begin func(*vring.Chain)
	fn    func(*vring.Chain) error
	lost  chan error // why the queue is lost

	// Guarded by Queue.mu.
	workers int
	idle    int // workers that wait, or were woken and have not looked yet
	over    bool
	without map[*vring.Chain]bool // workers that do not count: their chains were dropped
}

// hire adds a worker if there is none idle and may be one more. Callers hold the lock.
func (p *parallel) hire() (hired bool) {
	if p.over || p.idle > 0 || p.workers >= max(p.Size(), 1) {
		return false
	}
	p.workers++
	go p.work()
	return true
}

func (p *parallel) work() {
	home := false
	defer func() {
		if r := recover(); r != nil {
			p.fail(p.session.dev.panicked("HandleParallel", r))
		} else if !home {
			p.fail(errReturned) // runtime.Goexit in fn
		}
	}()
	var c vring.Chain
	for p.take(&c) && p.give(&c, p.fn(&c)) {
	}
	home = true
}

func (p *parallel) fail(err error) {
	select {
	case p.lost <- err:
	default: // one reason is enough
	}
}

// take waits for the next chain; false sends the worker home.
func (p *parallel) take(c *vring.Chain) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.over && p.ctx.Err() == nil {
		ok, err := p.pop(c)
		switch refused := err.(type) {
		case nil:
			if ok {
				p.took()
				p.count.BytesIn += c.Readable()
				p.count.Chains++
				if p.begin != nil {
					p.begin(c)
				}
				p.lookAhead()
				p.Flush() // of chains that were refused before; an error comes again
				return true
			}
			err = p.rest()
		case *vring.ChainError:
			p.took()
			p.badChain(refused)
			continue
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, vring.ErrShut) {
			p.fail(err)
			return false
		}
		if l := p.link.Load(); l != p.own {
			p.adopt(l)
		} else {
			p.await()
		}
	}
	return false
}

func (p *parallel) took() { p.next = p.ring.Position() }

// lookAhead sees to the chain behind the one that was taken just now: if it is there, somebody
// is to take it; if not, somebody waits for the kick that announces it.
func (p *parallel) lookAhead() {
	pending, _ := p.arm() // an error comes again from the next pop
	if !p.hire() && pending {
		p.wake()
	}
}

// arm has the driver kick, and look see it, when the next chain is there.
func (p *parallel) arm() (pending bool, err error) {
	p.asleep.Store(sleeping | uint32(p.next))
	return p.ring.Arm()
}

// rest is for a worker that found nothing to take: it publishes chains that were refused, and
// waits.
func (p *parallel) rest() error {
	if err := p.Flush(); err != nil {
		return err
	}
	pending, err := p.arm()
	if err != nil || pending {
		return err
	}
	p.count.Waits++
	p.shared.store(&p.count)
	p.await()
	return nil
}

// await lets go of the lock until somebody has to look again.
func (p *parallel) await() {
	p.idle++
	p.mu.Unlock()
	kicked := false
	select {
	case <-p.kick:
		kicked = true
	case <-p.ctx.Done():
	}
	p.mu.Lock()
	p.idle--
	if kicked && p.over {
		p.wake() // it was meant for whoever serves the queue now
	}
}

// give returns a chain as fn left it; false sends the worker home.
func (p *parallel) give(c *vring.Chain, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.without[c] {
		delete(p.without, c)
		if p.workers >= max(p.Size(), 1) {
			return false
		}
		p.workers++
		return true
	}
	switch {
	case err == nil:
		p.Done(c)
	case !errors.Is(err, vring.ErrShut):
		p.Refuse(c, err)
	}
	// Under the lock, so that nothing is notified once HandleParallel has left a session that is over.
	p.Flush()
	return true
}
