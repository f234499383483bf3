package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

// vsock listens at all ports, and connects to the host's as it is told, until "enough".
var _ = job("vsock", func(g *guest) error {
	v := &sockets{g: g, lazy: make(chan struct{})}
	if err := v.listen(); err != nil {
		return err
	}
	for m := range g.in {
		if m.Name == "enough" {
			return nil
		}
		var do talk.Do
		var args talk.VsockDo
		if err := errors.Join(json.Unmarshal(m.Value, &do), json.Unmarshal(do.Args, &args)); err != nil {
			return err
		}
		if err := g.say("do", v.did(do.What, args)); err != nil {
			return err
		}
	}
	return nil
})

// sockets are this side's ends.
type sockets struct {
	g    *guest
	lazy chan struct{} // gets a token for each lazy one that shall begin
	held []socket

	accepted sync.WaitGroup // those that are served
	mu       sync.Mutex
	failed   []string // what went wrong with accepted ones
}

func (v *sockets) listen() error {
	for _, at := range []struct {
		port  uint32
		kind  int
		serve func(socket) error
	}{
		{talk.PortEcho, unix.SOCK_STREAM, func(s socket) error {
			if _, err := io.Copy(s, s); err != nil {
				return err
			}
			return s.CloseWrite()
		}},
		{talk.PortAnswer, unix.SOCK_STREAM, func(s socket) error { return talk.Answer(s) }},
		{talk.PortAsk, unix.SOCK_STREAM, func(s socket) error { return talk.Ask(s, 'g', 1<<20) }},
		{talk.PortLazy, unix.SOCK_STREAM, func(s socket) error {
			<-v.lazy
			return talk.Answer(s)
		}},
		{talk.PortHold, unix.SOCK_STREAM, func(s socket) error {
			_, err := s.Read(make([]byte, 1))
			return err
		}},
		{talk.PortMessages, unix.SOCK_SEQPACKET, socket.echoMessages},
	} {
		err := listen(at.kind, at.port, func(s socket) {
			v.accepted.Add(1)
			defer v.accepted.Done()
			defer s.Close()
			if err := at.serve(s); err != nil {
				v.mu.Lock()
				defer v.mu.Unlock()
				v.failed = append(v.failed, fmt.Sprintf("port %d: %v", at.port, err))
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *sockets) did(what string, args talk.VsockDo) (d talk.Did) {
	value, err := v.do(what, args)
	if err == nil {
		d.Value, err = json.Marshal(value)
	}
	if err != nil {
		d.Error = what + ": " + err.Error()
	}
	return d
}

func (v *sockets) do(what string, args talk.VsockDo) (any, error) {
	switch what {
	case "ask", "chat", "answer", "fill", "call back", "drain", "pour", "messages":
		for range max(1, args.Times) {
			value, err := v.with(what, args)
			if value != nil || err != nil {
				return value, err
			}
		}
		return nil, nil
	case "connect":
		s, err := dial(unix.SOCK_STREAM, args.Port)
		if err != nil {
			return errorName(err), nil
		}
		return "", s.Close()
	case "lazy":
		v.lazy <- struct{}{}
		return nil, nil
	case "hold":
		return nil, v.hold(args)
	case "held":
		return v.endOfHeld(), nil
	case "accepted":
		v.accepted.Wait()
		v.mu.Lock()
		defer v.mu.Unlock()
		failed := v.failed
		v.failed = nil
		return failed, nil
	case "rebind":
		return nil, rebindSocket()
	case "console":
		return overPort(args)
	case "run":
		out, err := exec.Command(args.Args[0], args.Args[1:]...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		return string(out), err
	}
	return nil, errors.New("the guest does not know how")
}

// with does something with a new connection.
func (v *sockets) with(what string, args talk.VsockDo) (any, error) {
	kind := unix.SOCK_STREAM
	if what == "messages" {
		kind = unix.SOCK_SEQPACKET
	}
	s, err := dial(kind, args.Port)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	switch what {
	case "ask":
		return nil, talk.Ask(s, 'g', args.Bytes)
	case "chat":
		return nil, talk.Chat(s, 'g', args.Bytes)
	case "answer":
		return nil, talk.Answer(s)
	case "messages":
		return nil, talk.ChatMessages(s, 'g')
	case "fill":
		return nil, v.fill(s, args.Bytes)
	case "drain":
		return talk.Drain(s, args.Bytes)
	case "pour":
		return nil, talk.Pour(s, args.Bytes)
	}
	text, err := io.ReadAll(s) // what the host says of its call
	return string(text), err
}

// fill writes until no more is taken, says how much that was, and goes on like talk.Ask.
func (v *sockets) fill(s socket, n int) error {
	b := make([]byte, n)
	if _, err := io.ReadFull(talk.Random('g'), b); err != nil {
		return err
	}
	if err := unix.SetNonblock(int(s), true); err != nil {
		return err
	}
	filled, err := s.Write(b)
	if !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("after %d bytes that nobody reads: %w", filled, err)
	}
	if err := unix.SetNonblock(int(s), false); err != nil {
		return err
	}
	if err := v.g.say("filled", filled); err != nil {
		return err
	}
	if _, err := s.Write(b[filled:]); err != nil {
		return err
	}
	return talk.Answered(s, 'g', n)
}

// hold opens connections that last.
func (v *sockets) hold(args talk.VsockDo) error {
	for range args.Times {
		s, err := dial(unix.SOCK_STREAM, args.Port)
		if err != nil {
			return err
		}
		v.held = append(v.held, s)
	}
	return nil
}

// endOfHeld waits until the connections that are held have ended, and says how each did.
func (v *sockets) endOfHeld() (names []string) {
	for _, s := range v.held {
		names = append(names, errorName(s.outcome(unix.POLLIN))) // a read would have to be in it at that moment
		s.Close()
	}
	v.held = nil
	return names
}

// rebindSocket takes the device from its driver and gives it back.
func rebindSocket() error {
	const socketID = 19
	d, err := deviceOf(socketID)
	if err != nil {
		return err
	}
	for _, what := range []string{"unbind", "bind"} {
		if err := os.WriteFile(filepath.Join("/sys/bus/virtio/drivers", d.Driver, what), []byte(d.Name), 0); err != nil {
			return err
		}
	}
	return nil
}

// overPort moves bytes one way through a console's port.
func overPort(args talk.VsockDo) (any, error) {
	name, err := portFile(args.Name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if args.Port == talk.PortPour {
		return nil, talk.Pour(f, args.Bytes)
	}
	return talk.Drain(f, args.Bytes)
}
