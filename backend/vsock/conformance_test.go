package vsock

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

func TestVSK_01_OffersNoImpliedStream(t *testing.T) {
	d, err := New(Options{CID: guest})
	assert.NilError(t, err)
	assert.Equal(t, d.Info().Features, virtio.Features{0b111})
}

func TestVSK_02_NoFeatureIsStream(t *testing.T) {
	for _, tt := range []struct {
		name              string
		features          []virtio.Feature
		stream, seqpacket bool
	}{
		{"none", []virtio.Feature{virtio.Version1}, true, false},
		{"stream", []virtio.Feature{FeatureStream}, true, false},
		{"seqpacket", []virtio.Feature{FeatureSeqpacket}, true, true},
		{"seqpacket alone", []virtio.Feature{FeatureSeqpacket, FeatureNoImpliedStream}, false, true},
		{"all", []virtio.Feature{FeatureStream, FeatureSeqpacket, FeatureNoImpliedStream}, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				route := RouterFunc(func(context.Context, Request) (func(*Conn), error) {
					return func(c *Conn) { echo(c) }, nil
				})
				l := newIdleLink(t, Options{Router: route}, 4096)
				l.dev.SetDriverFeatures(virtio.FeatureSet(tt.features...))
				features := tt.features
				if tt.name == "none" {
					features = nil
				}
				l.start(features...)
				for kind, yes := range map[Type]bool{Stream: tt.stream, Seqpacket: tt.seqpacket} {
					p := l.from(opRequest, "")
					p.kind, p.srcPort = kind, tap+uint32(kind)
					l.send(p)
					want := uint16(opResponse)
					if !yes {
						want = opReset
					}
					assert.Equal(t, l.recv().String(), opName(want), "%v", kind)
					// From this side it is no different.
					ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
					_, err := l.vsock.dial(ctx, 5, kind)
					cancel()
					assert.Equal(t, errors.Is(err, syscall.EPROTONOSUPPORT), !yes, "%v: %v", kind, err)
					if yes {
						l.recv() // RST of the attempt; REQUEST was never sent
					}
				}
			})
		})
	}
}

func TestVSK_03_CIDIsChecked(t *testing.T) {
	for _, cid := range []uint64{0, 1, 2, 0xffff_ffff, 1 << 32, 3 | 1<<32, 1<<64 - 1} {
		_, err := New(Options{CID: cid})
		assert.Check(t, is.ErrorContains(err, "CID"), "%#x", cid)
	}
	for _, cid := range []uint64{3, 0xffff_fffe} {
		d, err := New(Options{CID: cid})
		assert.NilError(t, err)
		p := make([]byte, 3)
		d.ReadConfig(p, 2)
		assert.DeepEqual(t, p, []byte{byte(cid >> 16), byte(cid >> 24), 0})
		assert.Check(t, is.ErrorContains(d.SetCID(2), "CID"))
	}
}

// Without receive buffers packets are taken as long as there is memory for the answers; then
// the rest wait, and nothing is lost.
func TestVSK_04_TransmitWhileReceiveIsFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{Router: silent})
		l.connect()
		for range 1000 {
			l.op(opCreditRequest, 0)
		}
		l.send(l.from(opData, "data"))
		for i := range maxResets {
			p := l.from(opData, "x")
			p.dstPort = uint32(10_000 + i)
			l.send(p)
		}
		p := l.from(opData, "x")
		p.dstPort = 1
		l.post(p)
		synctest.Wait()
		assert.Assert(t, l.idle(queueTransmit), "memory for answers has no bound")

		resets, updates := 0, 0
		for resets < maxResets+1 {
			switch p := l.recv(); p.op {
			case opReset:
				resets++
				if resets <= maxResets {
					assert.Equal(t, p.srcPort, uint32(10_000+resets-1))
				}
			case opCreditUpdate:
				updates++
			default:
				t.Fatal(p)
			}
		}
		l.used(queueTransmit)
		assert.Equal(t, updates, 1)
	})
}

// silent is a router whose services take connections and read nothing.
var silent = RouterFunc(func(context.Context, Request) (func(*Conn), error) { return func(*Conn) {}, nil })

func TestVSK_05_SendsWithinCredit(t *testing.T) {
	for _, start := range []uint32{0, 0xffff_fffb} {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{})
			l.tell = credit{window: 10}
			c := l.accepted()
			c.mu.Lock()
			c.credit.sent, c.credit.peerForwarded, l.tell.forwarded = start, start, start
			c.mu.Unlock()
			text := "the quick brown fox jumps"
			go c.Write([]byte(text))
			for len(text) > 0 {
				n := min(10, len(text))
				assert.Equal(t, l.expect(opData).data, text[:n])
				if text = text[n:]; text == "" {
					break
				}
				l.expect(opCreditRequest)
				l.offer(queueReceive, vringtest.Writable(l.bufs[0][l.heads[0]%ringSize], uint32(l.size)))
				synctest.Wait()
				assert.Assert(t, l.idle(queueReceive), "more than the credit allows")
				// The buffer is used for what the next credit allows.
				l.op(opCreditUpdate, 0)
				var p packet
				e := l.used(queueReceive)
				raw := l.mem.Read(l.bufs[0][e.ID], uint64(e.Len))
				p.decode((*[headerLen]byte)(raw))
				n = min(10, len(text))
				assert.Equal(t, string(raw[headerLen:]), text[:n])
				l.tell.forwarded += uint32(n)
				if text = text[n:]; text != "" {
					l.expect(opCreditRequest)
					l.op(opCreditUpdate, 0)
				}
			}
		})
	}
}

// A window that shrinks below what is under way is full, not enormous.
func TestVSK_05_ShrunkenWindow(t *testing.T) {
	c := credit{sent: 100, peerWindow: 50, peerForwarded: 20}
	assert.Equal(t, c.free(), uint32(0))
	c.peerWindow = 81
	assert.Equal(t, c.free(), uint32(1))
}

func TestVSK_06_CreditInEveryPacket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{MaxConns: 1, Memory: 16 << 10, Window: 8 << 10})
		l.tell.window = 4
		want := func(p packet, forwarded uint32) {
			t.Helper()
			assert.Equal(t, p.alloc, uint32(8<<10), p)
			assert.Equal(t, p.header.forwarded, forwarded, p)
		}
		ln, err := l.vsock.Listen(service)
		assert.NilError(t, err)
		defer ln.Close()
		l.op(opRequest, 0)
		want(l.expect(opResponse), 0)
		c, err := ln.Accept()
		assert.NilError(t, err)
		l.send(l.from(opData, "abc"))
		io.ReadFull(c, make([]byte, 3))
		go c.Write([]byte("12345"))
		want(l.expect(opData), 3)
		want(l.expect(opCreditRequest), 3)
		l.op(opCreditUpdate, 0)
		want(l.expect(opData), 3)
		l.send(l.from(opData, "d"))
		io.ReadFull(c, make([]byte, 1))
		l.op(opCreditRequest, 0)
		want(l.expect(opCreditUpdate), 4)
		assert.NilError(t, c.(*Conn).CloseWrite())
		want(l.expect(opShutdown), 4)
		l.op(opShutdown, shutBoth)
		want(l.expect(opReset), 4)
		c.Close()

		dialed := make(chan error)
		go func() {
			_, err := l.vsock.Dial(t.Context(), 9)
			dialed <- err
		}()
		p := l.expect(opRequest)
		want(p, 0)
		p.src, p.dst, p.srcPort, p.dstPort, p.op = p.dst, p.src, p.dstPort, p.srcPort, opReset
		l.send(p)
		assert.ErrorIs(t, <-dialed, syscall.ECONNREFUSED)
	})
}

func TestVSK_07_UnknownType(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{Router: silent})
		for _, op := range []uint16{opRequest, opData, opReset, opCreditRequest} {
			p := l.from(op, "")
			p.kind = 0x7777
			l.send(p)
			if op != opReset {
				r := l.expect(opReset)
				assert.Equal(t, r.kind, Type(0x7777))
				assert.Equal(t, r.srcPort, uint32(service))
				assert.Equal(t, r.dstPort, uint32(tap))
			}
		}
		// A type that is known, but not that of the connection.
		l.connect()
		p := l.from(opData, "x")
		p.kind = Seqpacket
		l.send(p)
		assert.Equal(t, l.expect(opReset).kind, Seqpacket)
		l.op(opCreditRequest, 0)
		l.expect(opCreditUpdate)
	})
}

func TestVSK_08_RequestIsAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var m Mux
		m.Handle(service, echo)
		l := newLink(t, Options{Router: &m})
		p := l.from(opRequest, "")
		p.dstPort = 81
		l.send(p)
		assert.Equal(t, l.expect(opReset).srcPort, uint32(81))
		p.op = opData
		l.send(p)
		assert.Equal(t, l.expect(opReset).srcPort, uint32(81))
		p.op = opShutdown
		l.send(p)
		l.expect(opReset)
		p.op = opReset
		l.send(p) // is the end of it

		l.connect()
		l.send(l.from(opData, "hello"))
		assert.Equal(t, l.expect(opData).data, "hello")
		// A second request for what exists: the sides do not agree, and it is over.
		l.op(opRequest, 0)
		l.expect(opReset)
		l.connect()
	})
}

func TestVSK_09_ShutdownIsSticky(t *testing.T) {
	read := func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err }
	write := func(c *Conn) error { _, err := c.Write([]byte("x")); return err }
	t.Run("the driver sends no more", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{})
			c := l.accepted()
			l.send(l.from(opData, "z"))
			l.op(opShutdown, shutSend)
			assert.NilError(t, read(c))
			assert.Equal(t, read(c), io.EOF)
			go write(c)
			l.expect(opData)
			l.op(opShutdown, 0) // takes nothing back
			assert.Equal(t, read(c), io.EOF)
			l.op(opShutdown, shutReceive) // and now both are
			l.expect(opReset)
			assert.ErrorIs(t, write(c), syscall.EPIPE)
		})
	})
	t.Run("the driver receives no more", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{})
			c := l.accepted()
			l.op(opShutdown, shutReceive)
			assert.ErrorIs(t, write(c), syscall.EPIPE)
			l.send(l.from(opData, "z"))
			assert.NilError(t, read(c))
			l.op(opShutdown, shutBoth)
			l.expect(opReset)
			assert.Equal(t, read(c), io.EOF)
		})
	})
	t.Run("ours", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{})
			c := l.accepted()
			assert.NilError(t, c.CloseWrite())
			assert.Equal(t, l.expect(opShutdown).flags, uint32(shutSend))
			assert.ErrorIs(t, write(c), syscall.EPIPE)
			l.send(l.from(opData, "z"))
			assert.NilError(t, read(c))
			assert.NilError(t, c.CloseRead())
			assert.Equal(t, l.expect(opShutdown).flags, uint32(shutBoth))
			assert.Equal(t, read(c), io.EOF)
			l.send(l.from(opData, "late")) // under way when we said so: no reason for a reset
			l.op(opReset, 0)
			assert.Equal(t, l.find(), (*Conn)(nil))
		})
	})
	t.Run("time-out", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{Linger: 3 * time.Second})
			c := l.accepted()
			begin := time.Now()
			assert.NilError(t, c.Close())
			assert.Equal(t, l.expect(opShutdown).flags, uint32(shutBoth))
			l.expect(opReset)
			assert.Equal(t, time.Since(begin), 3*time.Second)
			assert.Equal(t, l.vsock.Stats().Conns, 0)
		})
	})
}

// find is the usual connection in the device's table.
func (l *link) find() *Conn {
	life, err := l.vsock.current()
	assert.NilError(l.t, err)
	return life.find(address{local: service, remote: tap})
}

func TestVSK_10_CreditRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{})
		c := l.accepted()
		l.send(l.from(opData, "abc"))
		c.Read(make([]byte, 2))
		l.op(opCreditRequest, 0)
		p := l.expect(opCreditUpdate)
		assert.Equal(t, p.header.forwarded, uint32(2))
		assert.Equal(t, p.alloc, c.credit.window)
	})
}

func TestVSK_11_LengthAndFraming(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{})
		c := l.accepted()
		p := l.from(opData, "abcdef")
		p.len = 3 // the rest of the buffer is not data
		l.send(p)
		b := make([]byte, 10)
		n, err := c.Read(b)
		assert.NilError(t, err)
		assert.Equal(t, string(b[:n]), "abc")

		p = l.from(opData, "xyz")
		var raw [headerLen]byte
		p.encode(&raw)
		whole := append(raw[:], p.data...)
		l.offer(queueTransmit, vringtest.Split(vringtest.Readable(l.mem.Buffer(whole), uint32(len(whole))), 1)...)
		l.used(queueTransmit)
		n, err = c.Read(b)
		assert.NilError(t, err)
		assert.Equal(t, string(b[:n]), "xyz")

		for _, short := range [][]byte{whole[:headerLen-1], whole[:1]} {
			l.offer(queueTransmit, vringtest.Readable(l.mem.Buffer(short), uint32(len(short))))
			l.used(queueTransmit) // dropped: nobody knows whose it is
		}

		p = l.from(opData, "abc")
		p.len = 4
		l.send(p)
		l.expect(opReset)
		_, err = c.Read(b)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		assert.Equal(t, l.vsock.Stats().Dropped, uint64(2))
	})
}

func TestVSK_12_Seqpacket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{})
		ln, err := l.vsock.ListenSeqpacket(service)
		assert.NilError(t, err)
		defer ln.Close()
		from := func(op uint16, flags uint32, data string) packet {
			p := l.from(op, data)
			p.kind, p.flags = Seqpacket, flags
			return p
		}
		l.send(from(opRequest, 0, ""))
		assert.Equal(t, l.expect(opResponse).kind, Seqpacket)
		nc, err := ln.Accept()
		assert.NilError(t, err)
		c := nc.(*Conn)

		l.send(from(opData, 0, "one, in "))
		l.send(from(opData, endOfMessage, "pieces"))
		l.send(from(opData, endOfMessage|endOfRecord, "two"))
		l.send(from(opData, 0, "three"))
		l.send(from(opData, endOfMessage, ""))
		l.send(from(opData, endOfMessage, "too long"))
		l.send(from(opData, endOfMessage, "six"))
		b := make([]byte, 14)
		for _, want := range []struct {
			room int
			text string
			eor  bool
			err  error
		}{{14, "one, in pieces", false, nil}, {14, "two", true, nil}, {14, "three", false, nil}, {3, "too", false, io.ErrShortBuffer}, {14, "six", false, nil}} {
			n, eor, err := c.ReadMessage(b[:want.room])
			assert.Assert(t, errors.Is(err, want.err), "%v", err)
			assert.Equal(t, string(b[:n]), want.text)
			assert.Equal(t, eor, want.eor)
			l.expect(opCreditUpdate) // a whole message may have to fit
		}

		text := strings.Repeat("x", 5000) // more than a buffer of the driver's
		go func() {
			c.Write([]byte(text))
			c.WriteMessage([]byte("end"), true)
		}()
		p := l.expect(opData)
		assert.Equal(t, p.flags, uint32(0))
		assert.Equal(t, int(p.len), 4096)
		p = l.expect(opData)
		assert.Equal(t, p.flags, uint32(endOfMessage))
		assert.Equal(t, int(p.len), 5000-4096)
		p = l.expect(opData)
		assert.Equal(t, p.flags, uint32(endOfMessage|endOfRecord))
		synctest.Wait()
		_, err = c.Write(make([]byte, l.tell.window+1))
		assert.ErrorIs(t, err, syscall.EMSGSIZE)
	})
}

// A driver that outlives a monitor is told that its connections do not, and goes on with new
// ones.
func TestVSK_13_TransportReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var m Mux
		m.Handle(service, echo)
		l := newLink(t, Options{Router: &m})
		l.connect()
		addr := l.mem.Alloc(8, 1)
		l.mem.Write(addr, []byte{1, 1, 1, 1, 1, 1, 1, 1})
		l.offer(queueEvent, vringtest.Writable(addr, 8))
		synctest.Wait()
		assert.Assert(t, l.idle(queueEvent))
		l.stop()
		l.resume(FeatureStream, FeatureSeqpacket)
		assert.Equal(t, l.used(queueEvent), vringtest.Elem{ID: 0, Len: 4})
		assert.DeepEqual(t, l.mem.Read(addr, 8), []byte{0, 0, 0, 0, 1, 1, 1, 1})
		l.send(l.from(opData, "what I was about to say"))
		l.expect(opReset)
		l.connect()

		// An address that changes is the same to it.
		l.offer(queueEvent, vringtest.Writable(addr, 2)) // useless
		l.offer(queueEvent, vringtest.Writable(addr, 4))
		assert.NilError(t, l.vsock.SetCID(99))
		assert.Equal(t, l.used(queueEvent).Len, uint32(0))
		assert.Equal(t, l.used(queueEvent).Len, uint32(4))
		assert.Assert(t, l.find() == nil)
		p := l.from(opRequest, "")
		p.src = 99
		l.send(p)
		assert.Equal(t, l.recv().dst, uint64(99))

		// A driver that begins anew has no connections to forget.
		l.stop()
		l.start()
		l.offer(queueEvent, vringtest.Writable(addr, 8))
		synctest.Wait()
		assert.Assert(t, l.idle(queueEvent))
	})
}

func TestVSK_14_ForgedAddresses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{Router: silent})
		l.connect()
		for _, cid := range []uint64{0, 1, 2, guest + 1, guest | 1<<32, 1<<64 - 1} {
			for _, op := range []uint16{opRequest, opData, opShutdown, opReset} {
				p := l.from(op, "")
				p.src, p.flags = cid, shutBoth
				l.send(p)
			}
		}
		synctest.Wait()
		assert.Equal(t, l.vsock.Stats().Dropped, uint64(24))
		for _, cid := range []uint64{0, 1, guest, 3, hostCID | 1<<32} {
			p := l.from(opShutdown, "")
			p.dst, p.flags = cid, shutBoth
			l.send(p)
			r := l.recv()
			assert.Equal(t, r.String(), opName(opReset))
			assert.Equal(t, r.src, cid)
		}
		l.op(opCreditRequest, 0)
		l.expect(opCreditUpdate) // first of all: the others were not answered
	})
}

func TestVSK_15_EverythingIsBounded(t *testing.T) {
	t.Run("half open", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			stuck := RouterFunc(func(ctx context.Context, _ Request) (func(*Conn), error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			l := newLink(t, Options{Router: stuck, MaxOpening: 5, ConnectTimeout: 10 * time.Second})
			flood(l, 20)
			for range 15 {
				l.expect(opReset)
			}
			assert.Equal(t, l.vsock.Stats().Opening, 5)
			for range 5 {
				l.expect(opReset) // time-out
			}
			assert.Equal(t, l.vsock.Stats().Conns, 0)
		})
	})
	t.Run("connections", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{Router: silent, MaxConns: 5})
			flood(l, 20)
			ports := answers(l, 20)
			assert.Equal(t, len(ports), 5)
			// Nor does it help to end them: their services have not let go.
			for _, port := range ports {
				p := l.from(opShutdown, "")
				p.srcPort, p.flags = port, shutBoth
				l.send(p)
				assert.Equal(t, l.recv().String(), opName(opReset))
			}
			assert.Equal(t, l.vsock.Stats().Conns, 5)
			l.op(opRequest, 0)
			l.expect(opReset)
			l.stop()
			l.start()
			l.op(opRequest, 0)
			l.expect(opReset)
		})
	})
	t.Run("memory", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			const conns, memory, window = 8, 128 << 10, 64 << 10
			l := newLink(t, Options{Router: eager, MaxConns: conns, Memory: memory, Window: window})
			promised := 0
			flood(l, conns)
			for _, port := range answers(l, conns) {
				p := l.from(opData, strings.Repeat("x", 4096))
				p.srcPort = port
				for range 64 {
					l.send(p)
					for !l.idle(queueReceive) {
						l.used(queueReceive)
					}
					l.offer(queueReceive, vringtest.Writable(l.bufs[0][l.heads[0]%ringSize], uint32(l.size)))
					synctest.Wait()
				}
			}
			life, err := l.vsock.current()
			assert.NilError(t, err)
			for _, c := range life.conns {
				promised += int(c.credit.window)
			}
			assert.Assert(t, promised > memory/2 && promised <= memory, "%d bytes", promised)
		})
	})
}

// eager is a router whose services read all there is.
var eager = RouterFunc(func(context.Context, Request) (func(*Conn), error) {
	return func(c *Conn) { io.Copy(io.Discard, c); c.Close() }, nil
})

// flood asks for n connections from different ports.
func flood(l *link, n int) {
	l.t.Helper()
	for i := range n {
		p := l.from(opRequest, "")
		p.srcPort = uint32(1000 + i)
		l.send(p)
		synctest.Wait()
	}
}

// answers receives the answers to a flood, and returns the ports of the connections that came
// about.
func answers(l *link, n int) (open []uint32) {
	l.t.Helper()
	for range n {
		switch p := l.recv(); p.op {
		case opResponse:
			open = append(open, p.dstPort)
		case opReset:
		default:
			l.t.Fatal(p)
		}
	}
	return open
}

// What a driver does wrong on one connection costs it that one, and no other.
func TestDRV_40_VillainousDriver(t *testing.T) {
	for _, tt := range []struct {
		name string
		bad  func(l *link) packet
	}{
		{"length lies", func(l *link) packet { p := l.from(opData, "x"); p.len = 2; return p }},
		{"window overrun", func(l *link) packet {
			p := l.from(opData, strings.Repeat("x", 4096))
			for range l.find().credit.window / 4096 {
				l.send(p)
			}
			return l.from(opData, "x")
		}},
		{"consumed more than was sent", func(l *link) packet {
			p := l.from(opCreditUpdate, "")
			p.forwarded++
			return p
		}},
		{"second response", func(l *link) packet { return l.from(opResponse, "") }},
		{"second request", func(l *link) packet { return l.from(opRequest, "") }},
		{"operation 0", func(l *link) packet { return l.from(0, "") }},
		{"unknown operation", func(l *link) packet { return l.from(0x1234, "") }},
		{"data after the last", func(l *link) packet {
			l.op(opShutdown, shutSend)
			return l.from(opData, "x")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var m Mux
				m.Handle(7, echo)
				l := newLink(t, Options{Router: &m})
				innocent := l.from(opRequest, "")
				innocent.dstPort = 7
				l.send(innocent)
				l.expect(opResponse)
				c := l.accepted()

				l.send(tt.bad(l))
				p := l.expect(opReset)
				assert.Equal(t, p.srcPort, uint32(service))
				_, err := io.Copy(io.Discard, c)
				if err == nil {
					_, err = c.Write([]byte("x"))
				}
				assert.ErrorIs(t, err, syscall.ECONNRESET)
				assert.Equal(t, l.vsock.Stats().Violated, uint64(1))

				innocent.op, innocent.data, innocent.len = opData, "still there?", 12
				l.send(innocent)
				assert.Equal(t, l.expect(opData).data, "still there?")
				l.connect2(t)
			})
		})
	}
	t.Run("data before the answer", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			slow := RouterFunc(func(ctx context.Context, _ Request) (func(*Conn), error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			l := newLink(t, Options{Router: slow})
			begin := time.Now()
			l.op(opRequest, 0)
			l.send(l.from(opData, "x"))
			l.expect(opReset)
			assert.Equal(t, time.Since(begin), time.Duration(0))
			synctest.Wait()
			assert.Equal(t, l.vsock.Stats().Conns, 0)
		})
	})
	t.Run("endless message", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{Router: silent, MaxConns: 1, Memory: 8 << 10})
			p := l.from(opRequest, "")
			p.kind = Seqpacket
			l.send(p)
			window := l.expect(opResponse).alloc
			p = l.from(opData, strings.Repeat("x", int(window)))
			p.kind = Seqpacket
			l.send(p)
			l.expect(opReset)
		})
	})
	t.Run("useless receive buffers", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{})
			c := l.accepted()
			go c.Write([]byte("hello"))
			for _, n := range []uint32{1, headerLen - 1, headerLen} {
				l.offer(queueReceive, vringtest.Writable(l.bufs[0][0], n))
				assert.Equal(t, l.used(queueReceive).Len, uint32(0))
			}
			l.offer(queueReceive, vringtest.Readable(l.bufs[0][0], 100), vringtest.Writable(l.bufs[0][0], 100))
			assert.Equal(t, l.used(queueReceive).Len, uint32(0))
			l.offer(queueReceive, vringtest.Writable(l.bufs[0][0], headerLen+2))
			assert.Equal(t, l.used(queueReceive).Len, uint32(headerLen+2))
			l.heads[0] += ringSize - l.heads[0]%ringSize
			assert.Equal(t, l.expect(opData).data, "llo")
		})
	})
}

// connect2 opens another connection.
func (l *link) connect2(t *testing.T) {
	p := l.from(opRequest, "")
	p.srcPort, p.dstPort = tap+1, 7
	l.send(p)
	l.expect(opResponse)
}
