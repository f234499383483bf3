package console_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/console"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
)

// desk is a host's end of a port: it types what it is told to, and keeps the last it was shown.
type desk struct {
	keys   chan string
	closed chan struct{}

	mu    sync.Mutex
	shown []byte
}

func newDesk() *desk { return &desk{keys: make(chan string, 1000), closed: make(chan struct{})} }

func (d *desk) Read(p []byte) (int, error) {
	select {
	case s := <-d.keys:
		return copy(p, s), nil
	case <-d.closed:
		return 0, io.EOF
	}
}

func (d *desk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	const most = 100
	d.shown = append(d.shown, p[max(0, len(p)-most):]...)
	d.shown = d.shown[max(0, len(d.shown)-most):]
	return len(p), nil
}

func (d *desk) SetWriteDeadline(time.Time) error { return nil }
func (d *desk) Close() error                     { close(d.closed); return nil }

func (d *desk) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shown = nil
}

// types is a receive buffer, and what the host types into it.
func (d *desk) types(queue int, s string) virtiotest.Request {
	return virtiotest.Request{
		Queue: queue, Writable: len(s) + 3, Check: exactly(s),
		Stimulus: func() error { d.keys <- s; return nil },
	}
}

// shows is a transmit buffer, and the host that sees it.
func (d *desk) shows(queue int, s string) virtiotest.Request {
	return virtiotest.Request{Queue: queue, Readable: []byte(s), Check: func(reply []byte) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		shown := d.shown
		d.shown = nil
		if string(shown) != s || len(reply) > 0 {
			return fmt.Errorf("the host sees %q, not %q", shown, s)
		}
		return nil
	}}
}

func exactly(want string) func([]byte) error {
	return func(got []byte) error {
		if string(got) != want {
			return fmt.Errorf("%q, not %q", got, want)
		}
		return nil
	}
}

// message is a control message.
func message(port uint32, event, value uint16, more ...byte) []byte {
	p := binary.LittleEndian.AppendUint32(nil, port)
	p = binary.LittleEndian.AppendUint16(p, event)
	p = binary.LittleEndian.AppendUint16(p, value)
	return append(p, more...)
}

// says is a control message of the driver's.
func says(p []byte) virtiotest.Request { return virtiotest.Request{Queue: 3, Readable: p} }

// hears is a control message of the device's. There are not more of them than the driver's give
// rise to, hence a stimulus, if an empty one.
func hears(p []byte) virtiotest.Request {
	return virtiotest.Request{
		Queue: 2, Writable: 72, Check: exactly(string(p)),
		Stimulus: func() error { return nil },
	}
}

func newConsole(t testing.TB, o console.Options) *console.Device {
	t.Helper()
	d, err := console.New(o)
	assert.NilError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func TestKit(t *testing.T) {
	virtiotest.TestBackend(t, func(t testing.TB) virtiotest.Subject {
		d := newDesk()
		var emergency bytes.Buffer
		return virtiotest.Subject{
			Backend: newConsole(t, console.Options{Ports: []console.Port{{Endpoint: d}}, Emergency: &emergency}),
			Script:  []virtiotest.Request{d.types(0, "hello"), d.shows(1, "good bye\n"), d.types(0, "x")},
			Settle:  d.clear,
		}
	})
}

func TestKitMultiport(t *testing.T) {
	const ready, add, portReady, isConsole, resize, open, name = 0, 1, 3, 4, 5, 6, 7
	virtiotest.TestBackend(t, func(t testing.TB) virtiotest.Subject {
		tty, data := newDesk(), newDesk()
		return virtiotest.Subject{
			Backend: newConsole(t, console.Options{Ports: []console.Port{{Endpoint: tty}, {Name: "data", Endpoint: data}}}),
			Script: []virtiotest.Request{
				says(message(0, ready, 1)),
				hears(message(0, add, 1)), hears(message(1, add, 1)),
				says(message(0, portReady, 1)),
				hears(message(0, isConsole, 1)), hears(message(0, open, 1)), hears(message(0, resize, 0, 80, 0, 24, 0)),
				says(message(1, portReady, 1)),
				hears(message(1, name, 1, []byte("data")...)), hears(message(1, open, 1)),
				says(message(0, open, 1)), says(message(1, open, 1)),
				tty.types(0, "ls\r"), tty.shows(1, "README\n"),
				data.types(4, "12345"), data.shows(5, "67890"),
			},
			Settle: func() { tty.clear(); data.clear() },
		}
	})
}
