package uml

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// MMIOModule is the driver of what [Rig.MMIO] attaches: the name of the module, of the driver in
// /sys/bus/platform/drivers with dashes, and in a [talk.Device]'s Transport.
const MMIOModule = "virtio_mmio_hvl2"

// MMIOLine is a doorbell between a kernel and the monitor of some of its devices.
type MMIOLine struct {
	Socket  string // where the monitor listens, see ListenMMIO; or will listen
	Devices int    // on it, each a slot page of its own
}

// MMIO attaches the devices behind some doorbells through Linux's own virtio_mmio.c, taken from
// the kernel's source as it is and built with the glue in driver/linux. The kernel connects when
// the module is loaded, which waits a few seconds for the devices, and again whenever its
// connection ends.
func (r *Rig) MMIO(ctx context.Context, lines ...MMIOLine) (Attachment, error) {
	file, err := r.buildMMIO(ctx)
	if err != nil {
		return Attachment{}, err
	}
	var sockets, pages []string
	for _, l := range lines {
		sockets = append(sockets, l.Socket)
		pages = append(pages, fmt.Sprint(l.Devices))
	}
	params := "sock=" + strings.Join(sockets, ",") + " pages=" + strings.Join(pages, ",")
	return Attachment{Modules: []Module{{Name: file, Params: params}}}, nil
}

// buildMMIO puts our files and the kernel's one beside each other, and builds the module.
func (r *Rig) buildMMIO(ctx context.Context) (string, error) {
	glue, err := glueDir(ctx)
	if err != nil {
		return "", err
	}
	tree, err := r.SourceTree(ctx)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "module-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, os.DirFS(glue)); err != nil {
		return "", err
	}
	driver, err := os.ReadFile(filepath.Join(tree, "drivers/virtio/virtio_mmio.c"))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "virtio_mmio.c"), driver, 0o644); err != nil {
		return "", err
	}
	return r.BuildModule(ctx, MMIOModule, dir)
}

// glueDir is driver/linux of this module, which has no Go package that could carry it along.
func glueDir(ctx context.Context) (string, error) {
	if names := missing("go"); names != nil {
		return "", unavailable(nil, "the sources of our kernel module cannot be found without the go command")
	}
	root, err := output(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", "github.com/hypervisorless/virtio")
	return filepath.Join(strings.TrimSpace(root), "driver", "linux"), err
}
