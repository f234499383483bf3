package vsock

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/vring/vringtest"
)

// FuzzPackets is a driver that sends whatever the bytes say, one step for each seven of them.
// The device has to take every packet, stay within the credit it was given, keep its books, and
// serve a good driver afterwards.
func FuzzPackets(f *testing.F) {
	step := func(op, where, flags, n, alloc, forwarded, how byte) []byte {
		return []byte{op, where, flags, n, alloc, forwarded, how}
	}
	seed := func(steps ...[]byte) {
		var all []byte
		for _, s := range steps {
			all = append(all, s...)
		}
		f.Add(all)
	}
	const echoed, sunk, seq = 0, 1, 4
	seed(step(opRequest, echoed, 0, 0, 3, 0, 0), step(opData, echoed, 0, 200, 3, 0, 0), step(opShutdown, echoed, 3, 0, 3, 0, 0))
	seed(step(opRequest, echoed, 0, 0, 1, 0, 0), step(opData, echoed, 0, 50, 1, 0, 0), step(opCreditUpdate, echoed, 0, 0, 2, 1, 0))
	seed(step(opRequest, sunk, 0, 0, 3, 0, 0), step(opData, sunk, 0, 255, 3, 0, 1), step(opData, sunk, 0, 255, 3, 2, 0))
	seed(step(opRequest, seq, 0, 0, 3, 0, 0), step(opData, seq, 0, 9, 3, 0, 0), step(opData, seq, 3, 9, 3, 0, 0))
	seed(step(opRequest, 2, 0, 0, 0, 0, 0), step(opReset, 2, 0, 0, 0, 0, 2), step(8, 3, 0, 0, 0, 0, 4))
	f.Fuzz(func(t *testing.T, steps []byte) {
		bubble(t, func(t *testing.T) { fuzzPackets(t, steps[:min(len(steps), 7*100)]) })
	})
}

// fuzzed is what the driver knows of one connection: how much it let the device send.
type fuzzed struct{ alloc, forwarded, received uint32 }

func fuzzPackets(t *testing.T, steps []byte) {
	var m Mux
	m.Via(service, RouterFunc(func(context.Context, Request) (func(*Conn), error) {
		return func(c *Conn) {
			io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
			c.Close()
		}, nil
	}))
	m.Via(service+1, silent)
	l := newLink(t, Options{Router: &m, MaxConns: 4, MaxOpening: 2, Memory: 64 << 10, Window: 16 << 10})
	conns := make(map[address]*fuzzed)
	key := func(h *header, toHost bool) (a address) {
		if a = (address{h.srcPort, h.dstPort, h.kind}); toHost {
			a = address{h.dstPort, h.srcPort, h.kind}
		}
		return a
	}
	drain := func() {
		synctest.Wait()
		for {
			e, ok := l.rings[queueReceive].Used()
			if !ok {
				return
			}
			raw := l.mem.Read(l.bufs[0][e.ID], uint64(e.Len))
			assert.Assert(t, len(raw) >= headerLen)
			var h header
			h.decode((*[headerLen]byte)(raw))
			assert.Equal(t, int(h.len), len(raw)-headerLen)
			assert.Equal(t, h.dst, uint64(guest))
			assert.Assert(t, h.op != opData || h.len > 0)
			if c := conns[key(&h, false)]; c != nil {
				c.received += h.len
				if h.op == opData && int32(c.received-c.forwarded) >= 0 {
					assert.Assert(t, c.received-c.forwarded <= c.alloc, "%d bytes under way, %d allowed", c.received-c.forwarded, c.alloc)
				}
				if h.op == opReset {
					delete(conns, key(&h, false))
				}
			} else {
				assert.Assert(t, h.op != opData, "data on nothing")
			}
			l.offer(queueReceive, vringtest.Writable(l.bufs[0][l.heads[queueReceive]%ringSize], uint32(l.size)))
			synctest.Wait()
		}
	}
	for range 8 {
		l.offer(queueReceive, vringtest.Writable(l.bufs[0][l.heads[queueReceive]%ringSize], uint32(l.size)))
	}
	for ; len(steps) >= 7; steps = steps[7:] {
		op, where, flags, n, alloc, forwarded, how := steps[0], steps[1], steps[2], steps[3], steps[4], steps[5], steps[6]
		p := l.from(uint16(op), strings.Repeat("x", int(n)*16))
		p.dstPort = service + uint32(where&3)
		p.srcPort = tap + uint32(where>>4)
		if where&4 != 0 {
			p.kind = Seqpacket
		}
		p.flags = uint32(flags)
		p.alloc = []uint32{0, 10, 1000, 1 << 16, 1<<32 - 1}[alloc%5]
		a := key(&p.header, true)
		c := conns[a]
		heard := how < 2 || how > 4 // the device will believe that it is of this connection
		if op == opRequest && heard {
			c = &fuzzed{}
			conns[a] = c
		}
		if p.header.forwarded = 0; c != nil {
			switch forwarded % 4 { // the truth, half of it, more than that, nothing
			case 0:
				p.header.forwarded = c.received
			case 1:
				p.header.forwarded = c.forwarded + (c.received-c.forwarded)/2
			case 2:
				p.header.forwarded = c.received + uint32(forwarded)
			default:
				p.header.forwarded = c.forwarded
			}
			if heard {
				c.forwarded, c.alloc = p.header.forwarded, p.alloc
			}
		}
		switch how {
		case 1:
			p.len++
		case 2:
			p.src++
		case 3:
			p.dst++
		case 4:
			p.kind = Type(flags) << 2
		case 5:
			p.len /= 2
		}
		l.send(p)
		drain()
	}
	stats := l.vsock.Stats()
	assert.Assert(t, stats.Conns <= 4 && stats.Opening <= 2, "%+v", stats)
	assert.NilError(t, l.dev.Broken())

	// A good driver.
	l.stop()
	synctest.Wait()
	life := l.vsock.stock.promised
	l.start(FeatureStream)
	for range 4 {
		l.offer(queueReceive, vringtest.Writable(l.bufs[0][l.heads[queueReceive]%ringSize], uint32(l.size)))
	}
	l.op(opRequest, 0)
	p := packet{}
	raw := l.mem.Read(l.bufs[0][l.used(queueReceive).ID], headerLen)
	p.decode((*[headerLen]byte)(raw))
	// Services that never close what they got keep their places, and these may be all.
	if open := l.vsock.Stats(); open.Refused == stats.Refused {
		assert.Equal(t, p.String(), opName(opResponse))
	}
	assert.Assert(t, life >= 0)
}
