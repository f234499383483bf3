package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

const (
	busybox   = "/bin/busybox"
	sharedDir = "/mnt/host"
	newRoot   = "/root"
)

// A home is where a shell lives.
type home struct {
	root   string   // its root directory, if that is not ours
	path   string   // where its programs are
	mounts []string // to be undone in the end
}

// settle makes a home: of busybox, or of a directory of the host.
func settle(args talk.ShellArgs) (h home, err error) {
	h.path = "/bin"
	if args.Root == "" {
		if out, err := exec.Command(busybox, "--install", "-s", "/bin").CombinedOutput(); err != nil {
			return h, fmt.Errorf("%s: %w: %s", busybox, err, out)
		}
	} else if err := h.moveIn(args.Root); err != nil {
		return h, errors.Join(err, h.leave())
	}
	if args.Share != "" {
		if err := h.mount9P(args.Share, sharedDir); err != nil {
			return h, errors.Join(err, h.leave())
		}
	}
	return h, nil
}

// moveIn makes a directory of the host the home's root. It stays below ours, which has the
// program that ends the machine.
func (h *home) moveIn(tag string) error {
	if err := h.mount9P(tag, newRoot); err != nil {
		return err
	}
	h.root, h.path = newRoot, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, m := range kernelMounts {
		dir := filepath.Join(newRoot, m.dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("none", dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
		h.mounts = append(h.mounts, dir)
	}
	return nil
}

func (h *home) mount9P(tag, dir string) error {
	dir = filepath.Join("/", h.root, dir)
	if err := mount9P(tag, dir, "cache=mmap,msize=512000"); err != nil {
		return err
	}
	h.mounts = append(h.mounts, dir)
	return nil
}

// leave ends what still runs and gives back what the host has shared.
func (h *home) leave() error {
	if len(h.mounts) == 0 {
		return nil
	}
	killAll()
	var all error
	for _, dir := range slices.Backward(h.mounts) {
		if err := unmountSoon(dir); err != nil {
			all = errors.Join(all, fmt.Errorf("unmount %s: %w", dir, err))
		}
	}
	return all
}
