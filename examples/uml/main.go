// Command uml boots real Linux as an ordinary process, whose console and entropy are this
// library's back-ends, and gives you its shell.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/hypervisorless/virtio/backend/console"
	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/internal/uml"
)

func main() {
	var o options
	flag.StringVar(&o.transport, "transport", "vhost-user", "how the devices reach the kernel: vhost-user, or mmio for hvl-v2")
	flag.StringVar(&o.share, "share", "", "a `directory` of yours that the machine has at /mnt/host, over 9P")
	flag.StringVar(&o.root, "root", "", "a `directory` with a Linux system in it, which the machine has as its root, over 9P")
	flag.StringVar(&o.vsock, "vsock", "", "a unix `socket` of yours that leads to the machine's vsock ports; those with _PORT after its name are where its own connections lead")
	flag.BoolVar(&o.verbose, "v", false, "log what the devices do, and print the kernel's own lines at the end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, o, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "uml:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	transport, share, root, vsock string
	verbose                       bool
}

func run(ctx context.Context, o options, rest []string) error {
	serve, ok := transports[o.transport]
	if !ok {
		return fmt.Errorf("-transport %q: accepted are vhost-user, mmio", o.transport)
	}
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	rig, err := uml.Prepare(ctx, say)
	if err != nil {
		return err
	}
	tools, err := rig.Package(ctx, "busybox-static", "1 MB")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "uml-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	terminal, err := console.OpenStdio(console.StdioOptions{OnEscape: func() { end(errEscape) }})
	if err != nil {
		return err
	}
	tty, err := console.New(console.Options{Ports: []console.Port{{Endpoint: terminal}}})
	if err != nil {
		return errors.Join(err, terminal.Close())
	}
	defer tty.Close() // gives the terminal back as it was
	devices := []device{{"console", tty}, {"rng", rng.New(rng.Options{})}}
	modules := []uml.Module{{Name: "virtio_console"}, {Name: "virtio_rng"}}
	files := fileShares{root: o.root, share: o.share}
	if err := files.open(); err != nil {
		return err
	}
	defer files.close()
	if files.devices != nil {
		devices = append(devices, files.devices...)
		modules = append(modules, uml.Module{Name: "9p"}, uml.Module{Name: "9pnet_virtio"})
	}
	args := map[string]any{"Term": os.Getenv("TERM"), "Root": files.rootTag, "Share": files.shareTag}
	if o.vsock != "" {
		ports, l, err := openSockets(o.vsock)
		if err != nil {
			return err
		}
		defer l.Close()
		go func() {
			if err := ports.ServeUnix(l); err != nil {
				end(err)
			}
		}()
		devices = append(devices, device{"vsock", ports})
		modules = append(modules, uml.Module{Name: "vmw_vsock_virtio_transport"})
		args["Port"] = shellPort
	}
	served := &service{dir: dir, log: logger(o.verbose), rig: rig, devices: devices}
	attachment, err := serve(ctx, served)
	if err != nil {
		return err
	}
	guest, err := rig.Boot(ctx, uml.Config{
		Attachments: []uml.Attachment{attachment},
		Modules:     modules,
		Files:       map[string]string{"bin/busybox": filepath.Join(tools, "bin/busybox")},
		Job:         "shell", Args: args,
		Memory: "128M",
	})
	if err == nil {
		err = guest.Wait(ctx)
		if o.verbose {
			defer fmt.Fprint(os.Stderr, guest.Log())
		}
	}
	over := context.Cause(ctx)
	end(nil)
	served.wait()
	switch {
	case errors.Is(over, errEscape):
		return nil
	case over != nil:
		return over // a signal
	}
	return err
}

// errEscape is somebody who pressed Ctrl-].
var errEscape = errors.New("the escape key was pressed")

// say prints a sentence about what takes time.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func logger(verbose bool) *slog.Logger {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
