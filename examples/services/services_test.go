package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

const watchdog = 30 * time.Second

// started runs sides until the test ends and returns where the shell and the page are.
func started(t *testing.T, sides ...string) (shell, page string) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), watchdog)
	t.Cleanup(stop)
	out, in := io.Pipe()
	window, bell := filepath.Join(t.TempDir(), "window"), filepath.Join(t.TempDir(), "bell")
	said := bufio.NewScanner(out)
	for _, side := range sides {
		done := make(chan error, 1)
		go func() { done <- run(ctx, side, window, bell, "127.0.0.1:0", "127.0.0.1:0", in) }()
		t.Cleanup(func() {
			stop()
			assert.NilError(t, <-done)
		})
		if side == "rtos" {
			continue
		}
		for _, where := range []*string{&shell, &page} {
			assert.Assert(t, said.Scan())
			_, *where, _ = strings.Cut(said.Text(), " ")
		}
		if side == "linux" { // its doorbell has to be there
			for gone := true; gone; {
				c, err := net.Dial("unix", bell)
				if gone = err != nil && ctx.Err() == nil; err == nil {
					c.Close()
				}
			}
		}
	}
	return strings.TrimPrefix(shell, "nc "), page
}

// person is somebody at the shell, who comes back until the board is up.
func person(t *testing.T, address string) (say func(string) string) {
	t.Helper()
	for begun := time.Now(); ; {
		c, err := net.Dial("tcp", address)
		assert.NilError(t, err)
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(begun.Add(watchdog))
		r := bufio.NewReader(c)
		hear := func() string {
			text, err := r.ReadString('>')
			if err != nil && err != io.EOF {
				return ""
			}
			return strings.Trim(strings.TrimSuffix(text, ">"), " \n")
		}
		if greeting := hear(); strings.Contains(greeting, "session") {
			return func(line string) string {
				_, err := io.WriteString(c, line+"\n")
				assert.NilError(t, err)
				return hear()
			}
		}
		assert.Assert(t, time.Since(begun) < watchdog, "no shell")
	}
}

func TestServices(t *testing.T) {
	for name, sides := range map[string][]string{"one process": {"both"}, "two sides": {"linux", "rtos"}} {
		t.Run(name, func(t *testing.T) {
			shell, page := started(t, sides...)
			say := person(t, shell)
			assert.Check(t, is.Contains(say("help"), "what Linux says the time is"))
			assert.Equal(t, say("led"), "the led is off")
			assert.Equal(t, say("led on"), "the led is on")
			_, err := time.Parse(time.RFC3339, say("time"))
			assert.NilError(t, err)
			_, err = time.ParseDuration(say("uptime"))
			assert.NilError(t, err)
			assert.Equal(t, say("dance"), `"dance": no such command`)

			r, err := http.Get(page)
			assert.NilError(t, err)
			defer r.Body.Close()
			text, err := io.ReadAll(r.Body)
			assert.NilError(t, err)
			assert.Check(t, is.Contains(string(text), "<tr><td>led<td>on"))
			assert.Check(t, is.Contains(string(text), "<tr><td>address<td>3"))
			assert.Equal(t, say("exit"), "")
		})
	}
}

func TestMistakes(t *testing.T) {
	for name, tt := range map[string]struct{ side, shell, want string }{
		"side":    {"left", "", "accepted are linux, rtos, both"},
		"address": {"both", "nowhere", "nowhere"},
	} {
		err := run(t.Context(), tt.side, "", "", tt.shell, "127.0.0.1:0", io.Discard)
		assert.Check(t, is.ErrorContains(err, tt.want), name)
	}
}
