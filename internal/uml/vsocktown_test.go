package uml

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/vsock"
	"github.com/hypervisorless/virtio/internal/uml/talk"
)

// town is a device and what listens at its ports on the host's side.
type town struct {
	*vsock.Device
	mux     vsock.Mux
	lazy    chan struct{} // gets a token for each connection to the lazy port that shall begin
	ended   chan error    // how each connection to PortHold ended
	drained chan float64  // seconds of each connection to PortDrain
	drain   int           // bytes of each connection to PortDrain and PortPour

	served sync.WaitGroup
	mu     sync.Mutex
	failed []error // of connections that were served
}

const (
	guestCID   = 52052
	hostWindow = 256 << 10 // of a connection, at most
)

func newTown() (*town, error) {
	w := &town{lazy: make(chan struct{}), ended: make(chan error, 64), drained: make(chan float64, 1)}
	for port, serve := range map[uint32]func(*vsock.Conn) error{
		talk.PortEcho:   echo,
		talk.PortAnswer: func(c *vsock.Conn) error { return talk.Answer(c) },
		talk.PortAsk:    func(c *vsock.Conn) error { return talk.Ask(c, 'h', asked) },
		talk.PortLazy: func(c *vsock.Conn) error {
			<-w.lazy
			return talk.Answer(slow{c})
		},
		talk.PortHold: func(c *vsock.Conn) error {
			_, err := c.Read(make([]byte, 1))
			w.ended <- err
			return nil
		},
		talk.PortPour: func(c *vsock.Conn) error { return talk.Pour(c, w.drain) },
		talk.PortDrain: func(c *vsock.Conn) error {
			seconds, err := talk.Drain(c, w.drain)
			w.drained <- seconds
			return err
		},
		talk.PortCallBack: w.callBack,
	} {
		w.mux.Handle(port, func(c net.Conn) { w.serve(port, serve, c.(*vsock.Conn)) })
	}
	var err error
	if w.Device, err = vsock.New(vsock.Options{CID: guestCID, Router: &w.mux, Window: hostWindow}); err != nil {
		return nil, err
	}
	messages, err := w.ListenSeqpacket(talk.PortMessages)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := messages.Accept()
			if err != nil {
				return
			}
			go w.serve(talk.PortMessages, echo, c.(*vsock.Conn))
		}
	}()
	return w, nil
}

// asked is what somebody at PortAsk asks.
const asked = 1 << 20

// serve serves a connection and notes what goes wrong with it.
func (w *town) serve(port uint32, serve func(*vsock.Conn) error, c *vsock.Conn) {
	w.served.Add(1)
	defer w.served.Done()
	defer c.Close()
	if err := serve(c); err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.failed = append(w.failed, fmt.Errorf("port %d: %w", port, err))
	}
}

// echo sends everything back, message by message if these there are, until no more comes.
func echo(c *vsock.Conn) error {
	p := make([]byte, 128<<10)
	for {
		n, err := c.Read(p)
		if err == io.EOF {
			return c.CloseWrite()
		}
		if err != nil {
			return err
		}
		if _, err := c.Write(p[:n]); err != nil {
			return err
		}
	}
}

// callBack calls the guest that called, and tells it what came of it.
func (w *town) callBack(c *vsock.Conn) error {
	text := "well"
	if err := w.ask(context.Background(), talk.PortAnswer, 1<<16); err != nil {
		text = err.Error()
	}
	_, err := c.Write([]byte(text))
	return err
}

// ask asks a port of the guest's.
func (w *town) ask(ctx context.Context, port uint32, n int) error {
	return w.with(ctx, port, func(c *vsock.Conn) error { return talk.Ask(c, 'h', n) })
}

// with does something with a new connection to the guest.
func (w *town) with(ctx context.Context, port uint32, do func(*vsock.Conn) error) error {
	c, err := w.Dial(ctx, port)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, c.Reset)()
	return do(c)
}

// slow reads little at a time.
type slow struct{ *vsock.Conn }

func (s slow) Read(p []byte) (int, error) { return s.Conn.Read(p[:min(len(p), 1500)]) }

// visitor is a guest that runs the job vsock.
type visitor struct {
	*Guest
	ctx context.Context
}

// begin lets the guest do something, and finish waits for it.
func (v visitor) begin(what string, args talk.VsockDo) error {
	text, err := json.Marshal(args)
	if err != nil {
		return err
	}
	return v.Say("do", talk.Do{What: what, Args: text})
}

func (v visitor) finish(value any) error {
	var did talk.Did
	if err := v.Await(v.ctx, "do", &did); err != nil {
		return err
	}
	if did.Error != "" {
		return errors.New(did.Error)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(did.Value, value)
}

func (v visitor) do(what string, args talk.VsockDo, value any) error {
	if err := v.begin(what, args); err != nil {
		return err
	}
	return v.finish(value)
}

// leave ends the machine.
func (v visitor) leave(t testing.TB) {
	t.Helper()
	assert.NilError(t, v.Say("enough", nil))
	assert.NilError(t, v.Wait(v.ctx))
}

// visit boots a guest that talks to the town.
func (l lane) visit(ctx context.Context, t testing.TB, a Attachment) visitor {
	t.Helper()
	g := l.boot(ctx, t, Config{Attachments: []Attachment{a}, Modules: vsockDriver, Job: "vsock"})
	return visitor{g, ctx}
}

var vsockDriver = []Module{{Name: "vmw_vsock_virtio_transport"}}

// well says whether all connections that were accepted, on either side, went well. There are none
// left then.
func (w *town) well(t testing.TB, v visitor) {
	t.Helper()
	var failed []string
	assert.NilError(t, v.do("accepted", talk.VsockDo{}, &failed))
	assert.Check(t, len(failed) == 0, "in the guest: %v", failed)
	w.served.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	assert.Check(t, len(w.failed) == 0, "on the host: %v", w.failed)
	w.failed = nil
}
