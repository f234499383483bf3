package vsock

import (
	"context"
	"io"
	"net"
	"runtime"
	"testing"

	"gotest.tools/v3/assert"
)

// inUse is what the program has of memory: heap and stacks.
func inUse() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}

// Connections on which nothing happens cost little, whoever serves them: 10 000 of them less
// than 64 MiB.
func TestIdleConnectionsAreSmall(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has its own idea of memory")
	}
	const budget = 64 << 20 / 10_000 // bytes each
	path := t.TempDir() + "/host"
	host, err := net.Listen("unix", path+"_80")
	assert.NilError(t, err)
	defer host.Close()
	accepted := make(chan net.Conn, 10_000)
	go func() {
		for {
			c, err := host.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for _, tt := range []struct {
		name   string
		conns  int
		router Router
	}{
		{"without service", 10_000, silent},
		{"a goroutine that reads", 10_000, RouterFunc(func(context.Context, Request) (func(*Conn), error) {
			return func(c *Conn) {
				var b [64]byte // whose size is the service's own affair
				for err := error(nil); err == nil; {
					_, err = c.Read(b[:])
				}
				c.Close()
			}, nil
		})},
		{"joined with a socket", 2_000, UnixRouter(path)}, // more would be out of descriptors
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newIdleLink(t, Options{Router: tt.router, MaxConns: tt.conns}, 64)
			l.start(FeatureStream)
			before := inUse()
			for i := range tt.conns {
				p := l.from(opRequest, "")
				p.srcPort = uint32(1000 + i)
				l.send(p)
				l.expect(opResponse)
				// Some traffic, which leaves nothing behind.
				p.op, p.data, p.len = opData, "hello", 5
				if tt.name != "without service" {
					l.send(p)
				}
			}
			each := (inUse() - before) / tt.conns
			t.Logf("%d bytes for each connection", each)
			assert.Assert(t, each < budget, "%d bytes for each connection, %d are allowed", each, budget)
			assert.Equal(t, l.vsock.Stats().Conns, tt.conns)
			for {
				select {
				case c := <-accepted:
					c.Close()
					continue
				default:
				}
				break
			}
		})
	}
}

// No packet makes garbage, in either direction, and neither do requests and their answers.
func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const n = 4 << 10
	t.Run("both ways", func(t *testing.T) {
		p, c := newPeer(t, Options{}, n)
		go io.Copy(c, struct{ io.Reader }{c})
		round := func() {
			p.upload(8*n, n)
			p.download(8 * n)
		}
		for range 100 {
			round()
		}
		if n := testing.AllocsPerRun(200, round); n != 0 {
			t.Errorf("%v allocations for 8 packets there and back", n)
		}
	})
	t.Run("joined with a socket", func(t *testing.T) {
		path := t.TempDir() + "/host"
		ln, err := net.Listen("unix", path+"_80")
		assert.NilError(t, err)
		defer ln.Close()
		go func() {
			host, err := ln.Accept()
			if err != nil {
				return
			}
			defer host.Close()
			b := make([]byte, 64<<10)
			for {
				k, err := host.Read(b)
				if err != nil {
					return
				}
				host.Write(b[:k])
			}
		}()
		p := newRoutedPeer(t, Options{Router: UnixRouter(path)}, n)
		round := func() {
			p.upload(8*n, n)
			p.download(8 * n)
		}
		for range 100 {
			round()
		}
		if n := testing.AllocsPerRun(200, round); n != 0 {
			t.Errorf("%v allocations for 8 packets there and back", n)
		}
	})
}
