package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"
)

// vsockProgram is the name under which this program is a person's way to a port of the host's.
const vsockProgram = "vsock"

// vsockOfPerson passes on what is typed to a port of the host's, and prints what comes back.
func vsockOfPerson(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: vsock PORT")
	}
	port, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return err
	}
	s, err := dial(unix.SOCK_STREAM, uint32(port))
	if err != nil {
		return err
	}
	go func() {
		if _, err := io.Copy(s, os.Stdin); err == nil {
			_ = s.CloseWrite()
		}
	}()
	_, err = io.Copy(os.Stdout, s)
	return err
}

// serveShells gives whoever connects to a port a shell, in the home.
func serveShells(port uint32, home home) error {
	if home.root == "" {
		if err := os.Symlink("/init", "/bin/"+vsockProgram); err != nil {
			return err
		}
	}
	return listen(unix.SOCK_STREAM, port, func(s socket) {
		f := os.NewFile(uintptr(s), "vsock")
		defer f.Close()
		cmd := exec.Command("/bin/sh")
		cmd.Dir, cmd.Env = "/", []string{"PATH=" + home.path, "HOME=/"}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, f
		cmd.SysProcAttr = &unix.SysProcAttr{Chroot: home.root, Setsid: true}
		if err := cmd.Run(); err != nil {
			fmt.Println("guest: a shell:", err)
		}
	})
}
