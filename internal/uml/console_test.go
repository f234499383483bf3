package uml

import (
	"bufio"
	"context"
	"errors"
	"net"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/console"
	"github.com/hypervisorless/virtio/internal/uml/talk"
)

// newConsole makes a console and the host's ends of its ports.
func newConsole(t testing.TB, names ...string) (*console.Device, []net.Conn) {
	t.Helper()
	var (
		ports []console.Port
		ends  []net.Conn
	)
	for _, name := range names {
		ours, theirs := net.Pipe()
		ports = append(ports, console.Port{Name: name, Endpoint: theirs})
		ends = append(ends, ours)
	}
	d, err := console.New(console.Options{Ports: ports})
	assert.NilError(t, err)
	t.Cleanup(func() { assert.Check(t, d.Close()) })
	return d, ends
}

var consoleDriver = []Module{{Name: "virtio_console"}}

// Somebody logs in over our console, resizes the window, and moves a mebibyte both ways.
func TestUMLConsole(t *testing.T) {
	lanes(t, func(t *testing.T, l lane) {
		ctx, n := within(t, patience), 1<<20
		d, ends := newConsole(t, "")
		g := l.boot(ctx, t, Config{
			Attachments: []Attachment{l.attach(t, l.rig, d)}, Modules: consoleDriver,
			Job: "console", Args: talk.ConsoleArgs{Bytes: n},
		})
		logIn(ctx, t, g, ends[0])
		resize(ctx, t, g, d)
		assert.NilError(t, g.Await(ctx, "raw", nil))
		bulk := bothWays(ctx, t, g, ends[0], "bulk", n)
		assert.NilError(t, g.Wait(ctx))
		t.Logf("%d bytes each way in %.2f s: %.2f MB/s each way", n, bulk.Seconds, float64(n)/1e6/bulk.Seconds)
	})
}

// A driver that speaks MULTIPORT finds ports by their names, and the window's size in a message.
func TestUMLConsolePorts(t *testing.T) {
	lanes(t, func(t *testing.T, l lane) {
		ctx, n := within(t, patience), 1<<18
		names := []string{"org.example.data", "second"}
		d, ends := newConsole(t, append([]string{""}, names...)...)
		g := l.boot(ctx, t, Config{
			Attachments: []Attachment{l.attach(t, l.rig, d)}, Modules: consoleDriver,
			Job: "ports", Args: talk.PortsArgs{Names: names, Bytes: n},
		})
		for i := range names {
			assert.NilError(t, g.Say("port", nil))
			bothWays(ctx, t, g, ends[1+i], "port", n)
		}
		logIn(ctx, t, g, ends[0])
		resize(ctx, t, g, d)
		assert.NilError(t, g.Wait(ctx))
	})
}

// logIn is the person at the terminal.
func logIn(ctx context.Context, t testing.TB, g *Guest, c net.Conn) {
	t.Helper()
	defer attend(ctx, g, c)()
	r := bufio.NewReader(c)
	expect := func(text string) {
		t.Helper()
		got := make([]byte, len(text))
		for i := range got {
			b, err := r.ReadByte()
			if err != nil {
				t.Fatalf("%v after %q: %v", err, got[:i], g.Wait(ctx))
			}
			got[i] = b
		}
		assert.Equal(t, string(got), text)
	}
	expect("login: ")
	_, err := c.Write([]byte("ada\r"))
	assert.NilError(t, err)
	expect("ada\r\n") // the terminal's echo
	expect("Welcome, ada\r\n")
	assert.NilError(t, g.Await(ctx, "logged in", nil))
	assert.Equal(t, r.Buffered(), 0)
}

// resize changes the window's size while the guest watches.
func resize(ctx context.Context, t testing.TB, g *Guest, d *console.Device) {
	t.Helper()
	var size talk.Size
	assert.NilError(t, g.Await(ctx, "size", &size))
	assert.Equal(t, size, talk.Size{Cols: 80, Rows: 24})
	d.Resize(0, 132, 43)
	assert.NilError(t, g.Await(ctx, "size", &size))
	assert.Equal(t, size, talk.Size{Cols: 132, Rows: 43})
}

// bothWays sends the guest n bytes and receives as many, at the same time.
func bothWays(ctx context.Context, t testing.TB, g *Guest, c net.Conn, name string, n int) talk.Bulk {
	t.Helper()
	defer attend(ctx, g, c)()
	sent := make(chan error, 1)
	go func() { sent <- talk.Copy(c, 'h', n) }()
	sum, err := talk.Sum(c, n)
	if err := errors.Join(err, <-sent); err != nil {
		t.Fatalf("%v: %v", err, g.Wait(ctx))
	}
	assert.Equal(t, sum, sumOf(t, 'g', n), "what the guest sent")
	var bulk talk.Bulk
	assert.NilError(t, g.Await(ctx, name, &bulk))
	assert.Equal(t, bulk.Sum, sumOf(t, 'h', n), "what the guest received")
	return bulk
}

// attend closes the host's end when nobody will use the guest's any more.
func attend(ctx context.Context, g *Guest, c net.Conn) (stop func()) {
	over := make(chan struct{})
	go func() {
		select {
		case <-over:
			return
		case <-ctx.Done():
		case <-g.Ended():
		}
		c.Close()
	}()
	return func() { close(over) }
}

func sumOf(t testing.TB, seed byte, n int) string {
	t.Helper()
	sum, err := talk.Sum(talk.Random(seed), n)
	assert.NilError(t, err)
	return sum
}
