package uml

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"github.com/hypervisorless/virtio/virtio"
)

var (
	ninepPackages = []string{"diod", "dbench", "fio", "sqlite3", "git", "attr", "rsync"}
	ninepDriver   = []Module{{Name: "9p"}, {Name: "9pnet_virtio"}}
)

// A server is somebody's 9P server.
type server struct {
	name string
	// serve serves dir until the test ends.
	serve func(t testing.TB, tools, dir string) virtio.Backend
	// options of a mount, besides the cache's.
	options func(dir string) string
}

const ninepTag = "share"

var diod = server{
	"diod",
	func(t testing.TB, tools, dir string) virtio.Backend {
		return &proxy{ninepTag, startDiod(t, tools, dir)}
	},
	func(dir string) string { return "aname=" + dir + ",uname=root,access=user" },
}

// A house is a machine whose files are ours.
type house struct {
	g      *Guest
	ctx    context.Context
	server server
	dir    string // what is shared
	tools  string
	log    func(format string, args ...any)
}

// move boots a machine for which the server serves a folder of its own.
func (l lane) move(ctx context.Context, t testing.TB, s server) *house {
	t.Helper()
	tools, err := l.rig.Tools(ctx, ninepPackages...)
	need(t, err)
	dir := t.TempDir()
	assert.NilError(t, os.Chmod(dir, 0o755)) // the guest's users walk through it
	g := l.boot(ctx, t, Config{
		Attachments: []Attachment{l.attach(t, l.rig, s.serve(t, tools, dir))}, Modules: ninepDriver, Memory: "192M",
		Job: "9p", Args: talk.NinePArgs{Tools: tools},
	})
	return &house{g, ctx, s, dir, tools, t.Logf}
}

// do lets the guest do something.
func (h *house) do(what string, args, value any) error {
	text, err := json.Marshal(args)
	if err != nil {
		return err
	}
	if err := h.g.Say("do", talk.Do{What: what, Args: text}); err != nil {
		return err
	}
	var did talk.Did
	if err := h.g.Await(h.ctx, "do", &did); err != nil {
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

// options are those of a mount.
func (h *house) options(more string) string {
	return h.server.options(h.dir) + ",msize=131072,locktimeout=1," + more
}

// mount mounts the share while run runs.
func (h *house) mount(t testing.TB, options string, run func()) {
	t.Helper()
	assert.NilError(t, h.do("mount", talk.MountArgs{Tag: ninepTag, Options: h.options(options)}, nil), "%s", h.g.Log())
	run()
	assert.NilError(t, h.do("unmount", struct{}{}, nil))
}

// leave ends the machine.
func (h *house) leave(t testing.TB) {
	t.Helper()
	assert.NilError(t, h.g.Say("enough", nil))
	assert.NilError(t, h.g.Wait(h.ctx))
}
