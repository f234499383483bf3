package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

// 9p is a machine with the host's programs, which work on files that are shared with it.
var _ = job("9p", func(g *guest) error {
	var args talk.NinePArgs
	if err := g.args(&args); err != nil {
		return err
	}
	if err := borrow(args.Tools); err != nil {
		return err
	}
	for m := range g.in {
		if m.Name == "enough" {
			return leaveShare()
		}
		var do talk.Do
		if err := json.Unmarshal(m.Value, &do); err != nil {
			return err
		}
		if err := g.say("do", did(do)); err != nil {
			return err
		}
	}
	return nil
})

// deeds are what the job 9p can do.
var deeds = map[string]func(args json.RawMessage) (any, error){
	"mount": deed(mountShare), "unmount": deed(unmountShare), "script": deed(script),
	"calls": deed(makeCalls), "locks": deed(locks), "wander": deed(wander), "measure": deed(measure),
}

// deed makes a function one of the deeds.
func deed[A, R any](run func(A) (R, error)) func(json.RawMessage) (any, error) {
	return func(text json.RawMessage) (any, error) {
		var args A
		if err := json.Unmarshal(text, &args); err != nil {
			return nil, err
		}
		return run(args)
	}
}

func did(do talk.Do) (d talk.Did) {
	run, ok := deeds[do.What]
	if !ok {
		return talk.Did{Error: fmt.Sprintf("the guest cannot do %q", do.What)}
	}
	value, err := run(do.Args)
	if err == nil {
		d.Value, err = json.Marshal(value)
	}
	if err != nil {
		d.Error = err.Error()
	}
	return d
}

const toolsDir = "/tools"

// borrow makes the host's programs ours, for reading.
func borrow(tools string) error {
	if err := os.Remove("/bin"); err != nil {
		return err
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, "/"+dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(talk.Share, 0o755); err != nil {
		return err
	}
	for dir, host := range map[string]string{"/usr": "/usr", "/etc": "/etc", toolsDir: tools} {
		if host == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("none", dir, "hostfs", unix.MS_RDONLY, host); err != nil {
			return fmt.Errorf("mount %s of the host: %w", host, err)
		}
	}
	return nil
}

func mountShare(args talk.MountArgs) (any, error) {
	return nil, mount9P(args.Tag, talk.Share, args.Options)
}

// leaveShare makes sure that nobody uses the share.
func leaveShare() error {
	killAll()
	err := unmountSoon(talk.Share)
	if err == unix.EINVAL { // nothing is mounted
		return nil
	}
	return err
}

func unmountShare(struct{}) (any, error) { return nil, unix.Unmount(talk.Share, 0) }

// script runs a shell.
func script(args talk.ScriptArgs) (r talk.ScriptResult, err error) {
	dir, err := folder(args.Dir)
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(args.Seconds)*time.Second)
	defer cancel()
	begin := time.Now()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-ec", args.Text)
	cmd.Dir = dir
	cmd.Env = environment()
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		r.Failed = errors.Join(err, ctx.Err()).Error()
	}
	r.Output, r.Seconds = out.String(), time.Since(begin).Seconds()
	return r, nil
}

// folder makes a folder of the share.
func folder(name string) (string, error) {
	dir := filepath.Join(talk.Share, name)
	return dir, os.MkdirAll(dir, 0o755)
}

// environment finds the host's programs and those that were unpacked beside them.
func environment() []string {
	var libraries []string
	for _, dir := range []string{"usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/ceph"} {
		libraries = append(libraries, filepath.Join(toolsDir, dir))
	}
	return []string{
		"PATH=/tools/usr/bin:/tools/bin:/usr/bin:/usr/sbin", "LD_LIBRARY_PATH=" + strings.Join(libraries, ":"),
		"HOME=/tmp", "TMPDIR=/tmp", "LC_ALL=C", "TZ=UTC", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org",
	}
}
