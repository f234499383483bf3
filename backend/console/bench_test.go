package console

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/vring/vringtest"
)

// null is a host that takes everything and types without end.
type null struct{}

func (null) Read(p []byte) (int, error)       { return len(p), nil }
func (null) Write(p []byte) (int, error)      { return len(p), nil }
func (null) TryWrite(p []byte) (int, error)   { return len(p), nil }
func (null) SetWriteDeadline(time.Time) error { return nil }
func (null) Close() error                     { return nil }

// socketPair is a unix socket endpoint whose client reads all and types without end.
func socketPair(t testing.TB) Endpoint {
	path := filepath.Join(t.TempDir(), "console")
	e, err := ListenUnix(path)
	assert.NilError(t, err)
	client, err := net.Dial("unix", path)
	assert.NilError(t, err)
	t.Cleanup(func() { client.Close() })
	go io.Copy(io.Discard, client)
	go io.Copy(client, null{})
	return e
}

// rounds prepares depth buffers of n bytes on a queue and returns a function that makes them
// available together and takes their completions.
func rounds(l *link, queue int, n uint64, depth int) func() {
	heads := make([]uint16, depth)
	for i := range heads {
		heads[i] = uint16(i)
		d := vringtest.Readable(l.mem.Alloc(n, 64), uint32(n))
		if queue == 0 {
			d = vringtest.Writable(d.Addr, d.Len)
		}
		l.rings[queue].Chain(heads[i], d)
	}
	return func() {
		l.rings[queue].Offer(heads...)
		l.dev.Kick()
		for range heads {
			for _, ok := l.rings[queue].Used(); !ok; _, ok = l.rings[queue].Used() {
				<-l.event
			}
		}
	}
}

func BenchmarkConsoleBackend(b *testing.B) {
	for queue, direction := range []string{"in", "out"} {
		for _, host := range []string{"null", "socket"} {
			for _, n := range []uint64{1, 64, 4096} {
				for _, depth := range []int{1, 16} {
					b.Run(fmt.Sprintf("%s/%s/%dB/depth%d", direction, host, n, depth), func(b *testing.B) {
						e := Endpoint(null{})
						if host == "socket" {
							e = socketPair(b)
						}
						round := rounds(newLink(b, Options{Ports: []Port{{Endpoint: e}}}), queue, n, depth)
						b.SetBytes(int64(n) * int64(depth))
						b.ReportAllocs()
						for b.Loop() {
							round()
						}
					})
				}
			}
		}
	}
}

func TestAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	pty, err := OpenPTY("")
	assert.NilError(t, err)
	file, err := OpenFile(filepath.Join(t.TempDir(), "log"))
	assert.NilError(t, err)
	for _, tt := range []struct {
		name string
		host Endpoint
	}{
		{"null", null{}},
		{"socket", socketPair(t)},
		{"terminal without client", pty},
		{"stream", Stream(null{}, io.Discard)},
		{"file", file},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLink(t, Options{Ports: []Port{{Endpoint: tt.host}}})
			for queue, direction := range []string{"in", "out"} {
				if queue == 0 && (tt.host == pty || tt.host == file) {
					continue // nobody types
				}
				round := rounds(l, queue, 64, 16)
				if n := testing.AllocsPerRun(200, round); n != 0 {
					t.Errorf("%s: %v allocations for 16 buffers", direction, n)
				}
			}
		})
	}
}
