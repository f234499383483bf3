package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"
)

const busybox = "/bin/busybox"

// shell gives whoever sits at our console a shell, until it ends.
var _ = job("shell", func(g *guest) error {
	if out, err := exec.Command(busybox, "--install", "-s", "/bin").CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", busybox, err, out)
	}
	source, err := selectRNG()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(consoleFile, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := welcome(f, source); err != nil {
		return err
	}

	// What poweroff, halt and reboot send to their init.
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTERM)
	cmd := exec.Command("/bin/sh", "-l")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/bin", "HOME=/", "TERM=" + terminal(g), "PS1=\\w # "}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, f
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
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
})

// terminal is the kind of the person's terminal.
func terminal(g *guest) string {
	var args struct{ Term string }
	if err := g.args(&args); err != nil || args.Term == "" {
		return "linux"
	}
	return args.Term
}

// welcome says where the person is.
func welcome(w io.Writer, source string) error {
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
	fmt.Fprintf(b, "exit, poweroff or Ctrl-] ends the machine.\n\n")
	return b.Flush()
}
