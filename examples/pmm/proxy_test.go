package main

import (
	"net"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

// proxy stands between a front-end and the monitor's doorbell. It merges rings, as every wire
// but this one does, and keeps the front-end's socket open while the monitor is away.
type proxy struct {
	tb      testing.TB
	monitor string
	l       net.Listener

	mu            sync.Mutex
	more          *sync.Cond
	front, back   net.Conn
	fromFront, to int // rings from the front-end, and how many of them went on
	closed        bool
}

func (r *room) proxy() *proxy {
	r.tb.Helper()
	l, err := net.Listen("unix", r.path("proxy"))
	assert.NilError(r.tb, err)
	p := &proxy{tb: r.tb, monitor: r.path("bell"), l: l}
	p.more = sync.NewCond(&p.mu)
	p.connect()
	go p.accept()
	r.tb.Cleanup(p.close)
	return p
}

// connect connects to the monitor, or to the next one.
func (p *proxy) connect() {
	p.tb.Helper()
	back, err := net.Dial("unix", p.monitor)
	assert.NilError(p.tb, err)
	p.mu.Lock()
	p.back = back
	p.mu.Unlock()
	go p.forward(back, &p.front, nil)
}

// accept takes the front-ends, one after the other.
func (p *proxy) accept() {
	for {
		front, err := p.l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.front = front
		p.mu.Unlock()
		p.forward(front, &p.back, &p.fromFront)
		front.Close()
	}
}

// mergeTime is how long rings are held back so that others merge with them.
const mergeTime = 100 * time.Microsecond

// forward passes rings on until the one who rings is gone.
func (p *proxy) forward(from net.Conn, to *net.Conn, rings *int) {
	var b [256]byte
	for {
		n, err := from.Read(b[:])
		if err != nil {
			return
		}
		time.Sleep(mergeTime)
		// What came meanwhile is part of this ring; what comes later is of the next.
		from.SetReadDeadline(time.Now())
		m, _ := from.Read(b[:])
		from.SetReadDeadline(time.Time{})
		p.mu.Lock()
		if rings != nil {
			*rings += n + m
			p.to++
			p.more.Broadcast()
		}
		conn := *to
		p.mu.Unlock()
		if conn != nil {
			conn.Write(b[:1]) // nobody there: whoever comes looks at everything
		}
	}
}

// await waits until the front-end has rung that often.
func (p *proxy) await(rings int) {
	p.tb.Helper()
	expired := time.AfterFunc(watchdog, p.close)
	defer expired.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.fromFront < rings && !p.closed {
		p.more.Wait()
	}
	if p.closed {
		p.tb.Fatalf("the front-end rang %d times and no more", p.fromFront)
	}
}

func (p *proxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.more.Broadcast()
	p.l.Close()
	for _, c := range []net.Conn{p.front, p.back} {
		if c != nil {
			c.Close()
		}
	}
}
