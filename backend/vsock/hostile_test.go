package vsock

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/vring/vringtest"
)

// A driver cannot know yet that a connection is gone: what it still says there is answered, and is
// no fault of its. What never makes sense is one.
func TestLateWordsAreNoFault(t *testing.T) {
	for op, faults := range []uint64{
		opRequest: 0, opResponse: 0, opReset: 0, opShutdown: 0, opData: 0, opCreditUpdate: 0, opCreditRequest: 0, 8: 1,
	} {
		if op == 0 {
			faults = 1
		}
		t.Run(opName(uint16(op)), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLink(t, Options{})
				c := l.accepted()
				assert.NilError(t, c.CloseWrite())
				l.expect(opShutdown)
				assert.NilError(t, c.Close())
				l.expect(opShutdown)
				l.op(opReset, 0)
				l.op(uint16(op), 0)
				if op != opReset {
					l.expect(opReset)
				}
				synctest.Wait()
				assert.Equal(t, l.dev.Stats().Queues[queueTransmit].Refused, faults)
			})
		})
	}
}

// An application that lets go of a connection in the moment the session ends leaves nothing
// behind.
func TestEndOfSessionLeavesNoPlaceTaken(t *testing.T) {
	for name, letGo := range map[string]func(c *Conn){
		"reset": func(c *Conn) { c.Reset() },
		"dial": func(c *Conn) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.ended(errReset, false)
			c.closed = true
			c.send(sendRequest)
			c.settle()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := newLink(t, Options{})
				c := l.accepted()
				life := c.life
				life.mu.Lock()
				life.over = true
				life.mu.Unlock()
				letGo(c)
				l.stop()
				assert.Equal(t, l.vsock.Stats().Conns, 0)
			})
		})
	}
}

// However a message is cut short, the driver is not left with half of it.
func TestCloseCutsMessageShort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{})
		l.tell.window = 10
		ln, err := l.vsock.ListenSeqpacket(service)
		assert.NilError(t, err)
		p := l.from(opRequest, "")
		p.kind = Seqpacket
		l.send(p)
		l.expect(opResponse)
		c, err := ln.Accept()
		assert.NilError(t, err)
		wrote := make(chan error)
		go func() {
			_, err := c.Write([]byte("0123456789"))
			wrote <- err
		}()
		l.recvInto(headerLen + 4)
		synctest.Wait()
		assert.NilError(t, c.Close())
		assert.ErrorIs(t, <-wrote, net.ErrClosed)
		l.expect(opReset)
	})
}

// What one reader leaves is for the next, who may wait already.
func TestReadersShareWhatComes(t *testing.T) {
	for range 200 {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{})
			c := l.accepted()
			var readers sync.WaitGroup
			for range 6 {
				readers.Go(func() {
					_, err := io.ReadFull(c, make([]byte, 1))
					assert.Check(t, err)
				})
			}
			synctest.Wait()
			l.send(l.from(opData, "a"))
			synctest.Wait()
			l.send(l.from(opData, "bcdef"))
			readers.Wait()
		})
	}
}

// A writer with always more to say does not keep the driver from hearing that nobody reads.
func TestCloseReadBesideWriter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{})
		c := l.accepted()
		go c.Write(make([]byte, 1<<20))
		l.expect(opData)
		assert.NilError(t, c.CloseRead())
		l.expect(opShutdown)
		l.expect(opData)
	})
}

// A message on its way to a slow host still takes its part of the window.
func TestMessageUnderWayFillsWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ours, host := net.Pipe()
		defer host.Close()
		l := newLink(t, Options{
			MaxConns: 1, Memory: 16 << 10, Window: 8 << 10,
			Router: Dialer(func(context.Context, Request) (net.Conn, error) { return ours, nil }),
		})
		p := l.from(opRequest, "")
		p.kind = Seqpacket
		l.send(p)
		assert.Assert(t, is.Equal(l.expect(opResponse).alloc, uint32(8<<10)))
		p = l.from(opData, string(make([]byte, 4<<10)))
		p.kind, p.flags = Seqpacket, endOfMessage
		for range 2 {
			l.send(p)
			synctest.Wait() // the first one is with the host
		}
		l.send(p)
		assert.Equal(t, l.vsock.Stats().Violated, uint64(1))
	})
}

// A connection that is closed is not kept for the sake of a deadline far away.
func TestCloseStopsDeadlines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newLink(t, Options{})
		c := l.accepted()
		assert.NilError(t, c.SetDeadline(time.Now().Add(time.Hour)))
		c.Close()
		assert.Assert(t, !c.readBy.timer.Stop())
		assert.Assert(t, !c.writeBy.timer.Stop())
	})
}

// What is still to be said of a connection that is over does not end the next one between the same
// ports.
func TestLateResetSparesNextConnection(t *testing.T) {
	for late := range 3 {
		bubble(t, func(t *testing.T) {
			l := newLink(t, Options{Router: silent})
			l.connect()
			l.op(opReset, 0)
			stranger := l.from(opData, "")
			stranger.srcPort++
			l.send(stranger)
			for range late {
				l.op(opShutdown, shutBoth)
			}
			l.op(opRequest, 0)
			synctest.Wait()
			for range 2 { // one of them the stranger's
				if p := l.recv(); p.dstPort == tap {
					assert.Equal(t, p.String(), opName(opResponse))
				}
			}
			l.offer(queueReceive, vringtest.Writable(l.bufs[0][0], uint32(l.size)))
			synctest.Wait()
			assert.Assert(t, l.idle(queueReceive))
		})
	}
}
