package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/virtio"
)

const (
	frontPort = 9  // served by the front-end
	hostPort  = 80 // dialled by it
)

// sockets is a monitor with a socket device and a front-end on it, which serves a port with
// digests and knows a port that the host serves likewise.
type socketRoom struct {
	*room
	layout string
	host   net.Listener
	front  *driver.Vsock
}

func newSocketRoom(t *testing.T, layout string) *socketRoom {
	t.Helper()
	r := &socketRoom{room: newRoom(t), layout: layout}
	var err error
	r.host, err = net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	t.Cleanup(func() { r.host.Close() })
	go serveAll(r.host, digest)
	return r
}

func (r *socketRoom) start() *proc {
	r.tb.Helper()
	return r.monitor("-layout", r.layout, "-device", fmt.Sprintf("vsock,cid=42,unix=%s,forward=tcp:127.0.0.1:0:%d,reverse=%d:tcp:%s",
		r.path("sockets"), frontPort, hostPort, r.host.Addr()))
}

// boot brings a front-end up that outlives the monitor.
func (r *socketRoom) boot() {
	r.tb.Helper()
	line, err := newRedial(r.path("bell"))
	assert.NilError(r.tb, err)
	d, err := r.open(line, driver.VirtioExp).Find(bounded(r.tb), virtio.IDSocket, 0)
	assert.NilError(r.tb, err)
	r.front, err = driver.StartVsock(bounded(r.tb), d)
	assert.NilError(r.tb, err)
	r.tb.Cleanup(func() { r.front.Close() })
	l, err := r.front.Listen(frontPort)
	assert.NilError(r.tb, err)
	go serveAll(l, digest)
}

func serveAll(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go serve(c)
	}
}

// digest reads to the end and answers with the hash of it.
func digest(c net.Conn) {
	defer c.Close()
	h := sha256.New()
	if _, err := io.Copy(h, c); err == nil {
		c.Write(h.Sum(nil))
	}
}

// digested sends n bytes, half-closes and hears what arrived.
func digested(tb testing.TB, c net.Conn, n int64) {
	tb.Helper()
	defer c.Close()
	assert.NilError(tb, c.SetDeadline(time.Now().Add(watchdog)))
	h := sha256.New()
	var seed [32]byte
	_, err := io.CopyN(io.MultiWriter(c, h), rand.NewChaCha8(seed), n)
	assert.NilError(tb, err)
	assert.NilError(tb, c.(interface{ CloseWrite() error }).CloseWrite())
	got, err := io.ReadAll(c)
	assert.NilError(tb, err)
	assert.Assert(tb, bytes.Equal(got, h.Sum(nil)), "%x", got)
}

// fromHost connects through the forwarded port of a monitor.
func (r *socketRoom) fromHost(m *proc) net.Conn {
	r.tb.Helper()
	listen := regexp.MustCompile(`listen=(\S+) port=9`).FindStringSubmatch(m.log.await(r.tb, "msg=forwards", 1))
	c, err := net.Dial("tcp", listen[1])
	assert.NilError(r.tb, err)
	return c
}

func (r *socketRoom) fromFront() *driver.VsockConn {
	r.tb.Helper()
	c, err := r.front.Dial(bounded(r.tb), hostPort)
	assert.NilError(r.tb, err)
	return c
}

// knock waits until the monitor has noticed the front-end.
func (r *socketRoom) knock() {
	r.tb.Helper()
	digested(r.tb, r.fromFront(), 0)
}

// unix asks for a port of the front-end's by the unix socket.
func (r *socketRoom) unix() net.Conn {
	r.tb.Helper()
	c, err := net.Dial("unix", r.path("sockets"))
	assert.NilError(r.tb, err)
	_, err = fmt.Fprintf(c, "CONNECT %d\n", frontPort)
	assert.NilError(r.tb, err)
	greeting, err := bufio.NewReaderSize(c, 16).ReadString('\n')
	assert.NilError(r.tb, err)
	assert.Check(r.tb, is.Contains(greeting, "OK "))
	return c
}

func (r *socketRoom) sockets() *socketsReport {
	r.tb.Helper()
	report, err := askStatus(r.path("status"))
	assert.NilError(r.tb, err)
	return report.Devices[0].Sockets
}

// Every way that an option opens, both directions, many at once.
func TestSockets(t *testing.T) {
	for _, layout := range []string{"table", "dtb", "v2"} {
		t.Run(layout, func(t *testing.T) {
			r := newSocketRoom(t, layout)
			m := r.start()
			r.boot()
			r.knock()
			digested(t, r.fromHost(m), 4<<20)
			digested(t, r.fromFront(), 4<<20)
			digested(t, r.unix(), 1<<20)

			l, err := net.Listen("unix", r.path("sockets_1000"))
			assert.NilError(t, err)
			defer l.Close()
			go serveAll(l, digest)
			c, err := r.front.Dial(bounded(t), 1000)
			assert.NilError(t, err)
			digested(t, c, 1<<20)
			_, err = r.front.Dial(bounded(t), 1001)
			assert.Check(t, is.ErrorIs(err, syscall.ECONNREFUSED))

			var all sync.WaitGroup
			for i := range 100 {
				var c net.Conn
				if i%2 == 0 {
					c = r.fromHost(m)
				} else {
					c = r.fromFront()
				}
				all.Go(func() { digested(t, c, 20_000) })
			}
			all.Wait()

			ask := start(t, child("pmm", "status", "-status", "unix:"+r.path("status")))
			ask.ends(0)
			assert.Check(t, is.Contains(ask.out.String(), "vsock (vsock) at 0x"))
			assert.Check(t, is.Contains(ask.out.String(), "opened 105"))
			assert.Check(t, is.Contains(ask.out.String(), "refused 1,"))
			s := r.sockets()
			assert.Check(t, s.Opened == 105 && s.Violated == 0 && s.Dropped == 0, "%+v", s)
			_, err = json.Marshal(s)
			assert.NilError(t, err)
			m.stop()
			assert.Check(t, gone(r.path("sockets")), "the socket's file is left behind")
		})
	}
}

// A front-end that is replaced with connections open: those of the host are over.
func TestSockets_FrontEndRestarts(t *testing.T) {
	for _, layout := range []string{"table", "dtb", "v2"} {
		t.Run(layout, func(t *testing.T) {
			r := newSocketRoom(t, layout)
			m := r.start()
			for range 3 {
				t.Run("", func(t *testing.T) {
					r := &socketRoom{r.in(t), r.layout, r.host, nil}
					r.boot()
					r.knock()
					open := r.fromHost(m)
					defer open.Close()
					digested(t, r.fromHost(m), 1000)
				})
			}
			m.stop()
		})
	}
}

// A monitor that is killed with connections open: the front-end hears of it, and both sides
// connect anew.
func TestSockets_MonitorDies(t *testing.T) {
	for _, layout := range []string{"table", "dtb", "v2"} {
		t.Run(layout, func(t *testing.T) {
			r := newSocketRoom(t, layout)
			m := r.start()
			r.boot()
			for range 3 {
				r.knock()
				in := r.fromHost(m)
				out := r.fromFront()
				assert.NilError(t, out.SetDeadline(time.Now().Add(watchdog)))
				m.kill()
				m = r.start()
				_, err := io.ReadAll(out)
				assert.Check(t, is.ErrorIs(err, syscall.ECONNRESET))
				_, err = in.Read(make([]byte, 1))
				assert.Check(t, err != nil)
				in.Close()
				out.Close()
				digested(t, r.fromFront(), 1<<20)
				digested(t, r.fromHost(m), 1<<20)
				digested(t, r.unix(), 1<<20)
			}
			m.stop()
		})
	}
}

// The socket that a killed monitor left behind is taken over.
func TestSockets_TakenOver(t *testing.T) {
	r := newSocketRoom(t, "table")
	r.start().kill()
	assert.Check(t, !gone(r.path("sockets")))
	m := r.start()
	r.boot()
	r.knock()
	digested(t, r.unix(), 1000)
	m.stop()
}
