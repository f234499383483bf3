package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
)

// room is where one test's monitors and front-ends meet.
type room struct {
	tb  testing.TB
	dir string
	shm string // the window
}

const (
	roomAddr = 0x37000000
	roomSize = 16 << 20
)

// newRoom has its window in memory where it can. The name of its folder is short: a socket's
// path holds 107 bytes.
func newRoom(tb testing.TB) *room {
	tb.Helper()
	temp := func(parent string) (string, error) {
		dir, err := os.MkdirTemp(parent, "pmm")
		tb.Cleanup(func() { os.RemoveAll(dir) })
		return dir, err
	}
	dir, err := temp("")
	assert.NilError(tb, err)
	memory, err := temp("/dev/shm")
	if err != nil {
		memory = dir
	}
	return &room{tb: tb, dir: dir, shm: filepath.Join(memory, "window")}
}

func (r *room) path(name string) string { return filepath.Join(r.dir, name) }

// args are the flags of a monitor in the room, with all sockets, and two devices unless others
// are given among more.
func (r *room) args(more ...string) []string {
	args := []string{
		"run", "-shmem", fmt.Sprintf("file:%s,size=%d,addr=%#x", r.shm, roomSize, roomAddr),
		"-doorbell", "unix:" + r.path("bell"), "-status", "unix:" + r.path("status"),
	}
	for _, a := range more {
		if a == "-device" {
			return append(args, more...)
		}
	}
	return append(append(args, "-device", "rng", "-device", "console,unix="+r.path("console")), more...)
}

// monitor starts one and waits until it is ready.
func (r *room) monitor(more ...string) *proc {
	r.tb.Helper()
	p := start(r.tb, child("pmm", r.args(more...)...))
	p.log.await(r.tb, "msg=ready", 1)
	return p
}
