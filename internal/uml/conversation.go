package uml

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

// Say tells the job something that it waits for.
func (g *Guest) Say(name string, value any) error { return talk.Write(g.line, name, value) }

// Await waits until the job says name, and reads what it says into value unless that is nil. A
// guest that ended, or whose job did, is an error with the end of what the kernel printed.
func (g *Guest) Await(ctx context.Context, name string, value any) error {
	m, err := g.next(ctx)
	if err != nil {
		return fmt.Errorf("waiting for %q: %w", name, err)
	}
	if m.Name != name {
		return g.surprise(m, name)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(m.Value, value)
}

// Wait waits for the end of the job and of the guest. The error is the job's if there is one.
func (g *Guest) Wait(ctx context.Context) error {
	var text string
	if err := g.Await(ctx, talk.Done, &text); err != nil {
		g.Kill()
		return err
	}
	select {
	case <-g.ended:
	case <-ctx.Done():
		g.Kill()
		return fmt.Errorf("the job is done, the guest does not end: %w", context.Cause(ctx))
	}
	switch {
	case text != "":
		return g.withLog(errors.New(text))
	case g.err != nil:
		return g.withLog(g.err)
	}
	return nil
}

// next returns what the guest says next.
func (g *Guest) next(ctx context.Context) (talk.Message, error) {
	nudge := time.NewTicker(time.Second)
	defer nudge.Stop()
	for {
		select {
		case m, ok := <-g.in:
			if !ok {
				<-g.ended
				return m, g.withLog(fmt.Errorf("the guest has ended: %w", cmp.Or(g.err, errSilent)))
			}
			return m, nil
		case <-nudge.C:
			g.nudge()
		case <-ctx.Done():
			return talk.Message{}, g.withLog(context.Cause(ctx))
		}
	}
}

// nudge sends an empty line, which nobody takes for a message. On a busy machine User-Mode Linux
// now and then overlooks what came over its serial line, until more comes.
func (g *Guest) nudge() {
	raw, err := g.line.SyscallConn()
	if err != nil {
		return // the guest has ended
	}
	_ = raw.Write(func(fd uintptr) bool {
		_ = unix.Send(int(fd), []byte{'\n'}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) // full is enough to read, too
		return true
	})
}

// errSilent is a guest that switched itself off without a word.
var errSilent = errors.New("without a word")

func (g *Guest) surprise(m talk.Message, expected string) error {
	if m.Name == talk.Done {
		var text string
		if err := json.Unmarshal(m.Value, &text); err != nil {
			return err
		}
		if text != "" {
			return g.withLog(errors.New(text))
		}
	}
	return g.withLog(fmt.Errorf("the guest said %q where %q was expected", m.Name, expected))
}

// withLog adds what the kernel printed last.
func (g *Guest) withLog(err error) error {
	return fmt.Errorf("%w\nthe kernel's last lines:\n%s", err, lastLines(g.Log(), 25))
}
