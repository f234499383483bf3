package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

// shell gives whoever sits at our console a shell, until it ends.
var _ = job("shell", func(g *guest) error {
	var args talk.ShellArgs
	if err := g.args(&args); err != nil {
		return err
	}
	home, err := settle(args)
	if err != nil {
		return err
	}
	if args.Port != 0 {
		if err := serveShells(args.Port, home); err != nil {
			return errors.Join(err, home.leave())
		}
	}
	return errors.Join(sit(args, home), home.leave())
})

// sit is one person's stay at the console.
func sit(args talk.ShellArgs, home home) error {
	source, err := selectRNG()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(consoleFile, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := welcome(f, source, args); err != nil {
		return err
	}

	// What poweroff, halt and reboot send to their init.
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTERM)
	cmd := exec.Command("/bin/sh", "-l")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + home.path, "HOME=/", "TERM=" + cmp.Or(args.Term, "linux"), "PS1=\\w # "}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, f
	cmd.SysProcAttr = &unix.SysProcAttr{Chroot: home.root, Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-asked:
	case err = <-ended:
	}
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		return err // how the person's last command ended is no concern of ours
	}
	// The terminal was hung up with its session; what was printed last is still on its way.
	last, err := openRaw(consoleFile)
	if err != nil {
		return err
	}
	defer last.Close()
	return unix.IoctlSetInt(int(last.Fd()), unix.TCSBRK, 1)
}

// welcome says where the person is.
func welcome(w io.Writer, source string, args talk.ShellArgs) error {
	f, err := lookAround()
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	release, _, _ := strings.Cut(f.Kernel, " ")
	fmt.Fprintf(b, "\nLinux %s. Everything you see came through %s.\n", release, consoleFile)
	for _, d := range f.Devices {
		fmt.Fprintf(b, "  %s: driver %s, by %s\n", d.Name, d.Driver, d.Transport)
	}
	fmt.Fprintf(b, "/dev/hwrng is %s: try  head -c 16 /dev/hwrng | xxd\n", source)
	if args.Root != "" {
		fmt.Fprintf(b, "/ is a directory of the host, over 9P\n")
	}
	if args.Share != "" {
		fmt.Fprintf(b, "%s is a directory of the host, over 9P\n", sharedDir)
	}
	if args.Port != 0 {
		fmt.Fprintf(b, "vsock port %d gives whoever connects a shell, too; vsock PORT  connects to the host's\n", args.Port)
	}
	fmt.Fprintf(b, "exit, poweroff or Ctrl-] ends the machine.\n\n")
	return b.Flush()
}
