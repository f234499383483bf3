package vhostuser

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/transport/vhostuser/vhostusertest"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// patience fails a hang; nothing measures by it.
const patience = 15 * time.Second

// toy gives back on every queue what it was given.
type toy struct {
	info   virtio.Info
	config []byte

	mu       sync.Mutex
	sessions int
	session  *virtio.Session
}

func newToy(queues int) *toy {
	return &toy{info: virtio.Info{ID: virtio.DeviceID(0x4000), Queues: make([]uint16, queues), InOrder: true}}
}

func (y *toy) Info() virtio.Info { return y.info }

func (y *toy) ReadConfig(p []byte, off int) { copy(p, y.config[off:]) }

func (y *toy) Serve(ctx context.Context, s *virtio.Session) error {
	y.mu.Lock()
	y.sessions++
	y.session = s
	y.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, len(y.info.Queues))
	for i := range y.info.Queues {
		go func() {
			buf := make([]byte, 4096)
			errs <- s.Queue(i).Handle(ctx, func(c *vring.Chain) error {
				n, err := c.Read(buf)
				if err == nil {
					_, err = c.Write(buf[:n])
				}
				return err
			})
		}()
	}
	var first error
	for range y.info.Queues {
		if err := <-errs; first == nil {
			first = err
			cancel()
		}
	}
	return first
}

// lives is how often a session began.
func (y *toy) lives() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.sessions
}

// echo has queue q give something back.
func echo(t testing.TB, g *vhostusertest.Guest, q int) {
	t.Helper()
	out, in := g.Memory.Alloc(16, 1), g.Memory.Alloc(16, 1)
	msg := fmt.Appendf(nil, "queue %d, %5d", q, g.Queues[q].Offered())
	g.Memory.Write(out, msg)
	e, err := g.Queues[q].Do(vhostusertest.Readable(out, uint32(len(msg))), vhostusertest.Writable(in, 16))
	assert.NilError(t, err)
	assert.Equal(t, string(g.Memory.Read(in, uint64(e.Len))), string(msg))
}

// logbook keeps what is logged.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimSpace(string(p)))
	return len(p), nil
}

// warnings are the lines of this level or worse.
func (l *logbook) warnings() (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
			found = append(found, line)
		}
	}
	return found
}

func (l *logbook) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = nil
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// heard waits until an eventfd is signalled, and takes the signal.
func heard(t testing.TB, f *os.File) {
	t.Helper()
	fd := bare(t, f)
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	until(t, "signal", func() bool {
		n, err := unix.Poll(ready, 100)
		return err == nil && n > 0
	})
	var p [8]byte
	_, err := unix.Read(fd, p[:])
	assert.NilError(t, err)
}

// until waits for a state of affairs.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}

// ended waits for the end of a connection.
func ended(t testing.TB, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatalf("the connection is still served after %v", patience)
		return nil
	}
}

// open is how many descriptors this process has. An earlier test's may still be on their way out:
// fewer than before is no finding.
func open(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	assert.NilError(t, err)
	return len(entries)
}

// shared is how many mappings of memfds it has.
func shared(t testing.TB) int {
	t.Helper()
	p, err := os.ReadFile("/proc/self/maps")
	assert.NilError(t, err)
	return strings.Count(string(p), "/memfd:")
}
