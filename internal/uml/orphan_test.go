package uml

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/poll"
)

// A guest whose time is up is gone with all its processes, and the error shows how far it came.
func TestUMLTimeout(t *testing.T) {
	r := prepare(t)
	ctx, cancel := context.WithCancelCause(within(t, time.Minute))
	g, err := r.Boot(ctx, Config{Job: "hello"}) // it waits for a word that is never said
	need(t, err)
	dir, group := g.Dir(), g.cmd.Process.Pid
	assert.Assert(t, len(members(t, group)) > 1, "the kernel and a process for its init")

	late := errors.New("too late")
	cancel(late)
	err = g.Wait(ctx)
	assert.ErrorIs(t, err, late)
	assert.ErrorContains(t, err, "Run /init as init process")
	poll.WaitOn(t, func(poll.LogT) poll.Result {
		if left := members(t, group); len(left) > 0 {
			return poll.Continue("left over: %v", left)
		}
		return poll.Success()
	}, poll.WithTimeout(30*time.Second))
	_, err = os.Stat(dir)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// members are the processes of a group that still run.
func members(t *testing.T, group int) []string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	assert.NilError(t, err)
	var found []string
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it is gone
		}
		// pid (name) state parent group …
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if fields[2] == strconv.Itoa(group) && fields[0] != "Z" {
			found = append(found, strings.Fields(string(text))[0])
		}
	}
	return found
}
