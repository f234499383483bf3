package vsock

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

// books checks that nothing is left of connections once they are gone.
func books(t *testing.T, d *Device) {
	t.Helper()
	gone(t, d)
	d.stock.mu.Lock()
	defer d.stock.mu.Unlock()
	assert.Equal(t, d.stock.opening, 0)
	assert.Equal(t, d.stock.promised, 0)
}

// Connections of every kind come and go, many at a time, and leave nothing behind.
func TestManyConnections(t *testing.T) {
	path := t.TempDir() + "/vsock"
	ln, err := net.Listen("unix", path+"_2")
	assert.NilError(t, err)
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	var m Mux
	m.Handle(1, echo)
	m.Otherwise(UnixRouter(path))
	s := newStack(t, Options{Router: &m})
	gl := s.listen(3)
	defer gl.Close()
	go func() {
		for {
			c, err := gl.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, struct{ io.Reader }{c})
				c.Close()
			}()
		}
	}()
	_, err = s.dial(99) // an answer to this proves that the device is at work
	assert.Equal(t, err, errRefuse)
	before := runtime.NumGoroutine() + 1 // it may just have begun with its events

	const workers, rounds = 8, 30
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			for range rounds {
				var c net.Conn
				var err error
				switch kind := rnd.IntN(3); kind {
				case 2:
					c, err = s.vsock.Dial(t.Context(), 3)
				default:
					c, err = s.dial(uint32(kind + 1))
				}
				if !assert.Check(t, err) {
					return
				}
				data := make([]byte, rnd.IntN(200_000))
				for i := range data {
					data[i] = byte(rnd.Uint32())
				}
				if rnd.IntN(4) == 0 { // leaves early
					go c.Write(data)
					io.ReadFull(c, make([]byte, len(data)/2))
					c.Close()
					continue
				}
				go func() {
					c.Write(data)
					c.(interface{ CloseWrite() error }).CloseWrite()
				}()
				got, err := io.ReadAll(c)
				assert.Check(t, err)
				assert.Check(t, bytes.Equal(got, data), "%d bytes, not %d", len(got), len(data))
				c.Close()
			}
		})
	}
	all.Wait()
	books(t, s.vsock)
	for late := time.Now().Add(watchdog); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks())
		}
	}
}

// A driver that resets the device under load ends all connections, and nothing is left of them.
func TestDriverResetUnderLoad(t *testing.T) {
	path := t.TempDir() + "/vsock"
	ln, err := net.Listen("unix", path+"_2")
	assert.NilError(t, err)
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	var m Mux
	m.Handle(1, echo)
	m.Otherwise(UnixRouter(path))
	s := newStack(t, Options{Router: &m})
	for i := range 20 {
		c, err := s.dial(uint32(1 + i%2))
		assert.NilError(t, err)
		go io.Copy(io.Discard, struct{ io.Reader }{c})
		go func() {
			for {
				if _, err := c.Write(make([]byte, 10_000)); err != nil {
					return
				}
			}
		}()
	}
	opened := s.vsock.Stats().Opened
	assert.Equal(t, opened, uint64(20))
	s.mu.Lock() // the driver does nothing from here on
	for _, c := range s.conns {
		c.closed, c.reset = true, true
	}
	s.dev.End()
	for late := time.Now().Add(watchdog); !s.dev.Quiet(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the device does not let go")
		}
	}
	s.cond.Broadcast()
	s.mu.Unlock()
	books(t, s.vsock)
}

// All methods at once, for the race detector; deadlines that come and go cost nothing but time.
func TestConcurrentMethods(t *testing.T) {
	s := newStack(t, Options{})
	gl := s.listen(1)
	defer gl.Close()
	go func() {
		if c, err := gl.Accept(); err == nil {
			io.Copy(c, struct{ io.Reader }{c})
		}
	}()
	c, err := s.vsock.Dial(t.Context(), 1)
	assert.NilError(t, err)
	const n = 100
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range n {
				c.SetReadDeadline(time.Now().Add(time.Millisecond))
				_, err := c.Read(make([]byte, 1000))
				var ne net.Error
				assert.Check(t, err == nil || errors.As(err, &ne) && ne.Timeout(), "%v", err)
			}
		})
		all.Go(func() {
			for range n {
				c.SetWriteDeadline(time.Now().Add(time.Millisecond))
				_, err := c.Write(make([]byte, 1000))
				var ne net.Error
				assert.Check(t, err == nil || errors.As(err, &ne) && ne.Timeout(), "%v", err)
			}
		})
		all.Go(func() {
			for range n {
				c.LocalAddr()
				c.RemoteAddr()
				s.vsock.Stats()
			}
		})
	}
	all.Wait()
	assert.NilError(t, c.Close())
	_, err = c.Read(nil)
	assert.Check(t, is.ErrorIs(err, net.ErrClosed))
}

// stacks is what all goroutines are at.
func stacks() []byte {
	b := make([]byte, 1<<20)
	return b[:runtime.Stack(b, true)]
}
