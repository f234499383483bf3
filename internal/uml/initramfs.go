package uml

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hypervisorless/virtio/internal/uml/talk"
)

const guestPackage = "github.com/hypervisorless/virtio/internal/uml/guest"

// guestProgram builds the program that is the guest's init. The go command finds out by itself
// whether there is anything to do.
func (r *Rig) guestProgram(ctx context.Context) ([]byte, error) {
	if names := missing("go"); names != nil {
		return nil, unavailable(nil, "the guest's program cannot be built without the go command")
	}
	unlock, err := lock(ctx, r.dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	file := filepath.Join(r.dir, "guest")
	if _, err := output(ctx, "", "env", "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0",
		"go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, guestPackage); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

// initramfs makes the guest's file system and returns its file in dir.
func (r *Rig) initramfs(ctx context.Context, dir string, c Config) (string, error) {
	program, err := r.guestProgram(ctx)
	if err != nil {
		return "", err
	}
	modules := c.Modules
	for _, a := range c.Attachments {
		modules = append(append([]Module(nil), a.Modules...), modules...)
	}
	order, err := r.resolve(ctx, modules)
	if err != nil {
		return "", err
	}
	args, err := json.Marshal(c.Args)
	if err != nil {
		return "", fmt.Errorf("arguments of the job: %w", err)
	}
	spec := talk.Spec{Job: c.Job, Args: args}

	var a cpio
	for _, name := range []string{"dev", "proc", "sys", "tmp", "modules", "bin"} {
		a.dir(name)
	}
	a.file("init", 0o755, program)
	for _, l := range order {
		data, err := os.ReadFile(l.file)
		if err != nil {
			return "", err
		}
		file := "modules/" + l.name + ".ko"
		a.file(file, 0o644, data)
		spec.Modules = append(spec.Modules, talk.Module{Name: l.name, File: "/" + file, Params: l.params})
	}
	for name, host := range c.Files {
		data, err := os.ReadFile(host)
		if err != nil {
			return "", err
		}
		a.file(name, 0o755, data)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return "", err
	}
	a.file(talk.SpecFile[1:], 0o644, text)
	a.end()
	// Not compressed: this machine would spend more time on that than on copying it.
	file := filepath.Join(dir, "initramfs")
	return file, os.WriteFile(file, a.Bytes(), 0o644)
}
