package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/uml"
)

// The command gives a shell, which sees our devices, and ends when the shell does.
func TestUMLShell(t *testing.T) {
	rig := prepare(t)
	program := build(t)
	for name, bus := range map[string]string{"vhost-user": "virtio-uml", "mmio": "virtio-mmio-hvl2"} {
		t.Run(name, func(t *testing.T) {
			welcome, rest := visit(t, program, "/ # ", "head -c 1000 /dev/hwrng | wc -c\n", "-transport", name)
			assert.Check(t, strings.Contains(welcome, "driver virtio_console, by "+bus), welcome)
			assert.Check(t, strings.Contains(rest, "\n1000\r\n"), "%q", rest)
		})
	}
	// A machine whose root is a directory of ours, with another one at /mnt/host.
	t.Run("files", func(t *testing.T) {
		root, share := smallRoot(t, rig), t.TempDir()
		assert.NilError(t, os.WriteFile(filepath.Join(share, "ours"), []byte("from the host\n"), 0o644))
		welcome, rest := visit(t, program, "# ", "cat /mnt/host/ours; tr a-z A-Z </mnt/host/ours >/mnt/host/theirs; mount | grep -c 9p; uname >/name\n",
			"-transport", "mmio", "-root", root, "-share", share)
		assert.Check(t, strings.Contains(welcome, "/ is a directory of the host"), welcome)
		assert.Check(t, strings.Contains(rest, "\nfrom the host\r\n2\r\n"), "%q", rest)
		for file, want := range map[string]string{filepath.Join(share, "theirs"): "FROM THE HOST\n", filepath.Join(root, "name"): "Linux\n"} {
			got, err := os.ReadFile(file)
			assert.NilError(t, err)
			assert.Equal(t, string(got), want)
		}
	})
}

// The machine's port for shells, and a port of ours which the machine reaches.
func TestUMLShellVsock(t *testing.T) {
	prepare(t)
	path := filepath.Join(t.TempDir(), "vm")
	l, err := net.Listen("unix", path+"_80")
	assert.NilError(t, err)
	served := make(chan error, 1)
	go func() { served <- remotely(l, path) }()
	_, rest := visit(t, build(t), "/ # ", "echo ready | vsock 80\n", "-transport", "mmio", "-vsock", path)
	assert.Check(t, strings.Contains(rest, "\nthe other shell says Linux\r\n"), "%q", rest)
	assert.NilError(t, l.Close())
	assert.NilError(t, <-served)
}

// remotely waits for the machine to say that it is ready, has a shell in it run a program, and tells
// the machine what that printed.
func remotely(l net.Listener, path string) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.ReadAll(c); err != nil {
		return err
	}
	shell, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer shell.Close()
	if _, err := io.WriteString(shell, "CONNECT 52\nuname\nexit\n"); err != nil {
		return err
	}
	said, err := io.ReadAll(shell)
	if err != nil {
		return err
	}
	greeting, said, _ := bytes.Cut(said, []byte("\n"))
	if !bytes.HasPrefix(greeting, []byte("OK ")) {
		return fmt.Errorf("the machine's port is not to be had: %q", greeting)
	}
	_, err = fmt.Fprintf(c, "the other shell says %s", said)
	return err
}

func prepare(t *testing.T) *uml.Rig {
	rig, err := uml.Prepare(t.Context(), t.Logf)
	if err != nil {
		if u := (*uml.Unavailable)(nil); errors.As(err, &u) && os.Getenv("CI") != "true" {
			t.Skip(u)
		}
		t.Fatal(err)
	}
	return rig
}

func build(t *testing.T) string {
	program := filepath.Join(t.TempDir(), "uml")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	assert.NilError(t, err, "%s", out)
	return program
}

// smallRoot is the smallest Linux system there is.
func smallRoot(t *testing.T, rig *uml.Rig) string {
	tools, err := rig.Package(t.Context(), "busybox-static", "1 MB")
	assert.NilError(t, err)
	busybox, err := os.ReadFile(filepath.Join(tools, "bin/busybox"))
	assert.NilError(t, err)
	dir := t.TempDir()
	assert.NilError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "bin/busybox"), busybox, 0o755))
	for _, name := range []string{"sh", "cat", "tr", "mount", "grep", "uname"} {
		assert.NilError(t, os.Symlink("busybox", filepath.Join(dir, "bin", name)))
	}
	return dir
}

// visit runs the command, types text at its prompt, and leaves. It returns what was printed up to
// the prompt, and after it.
func visit(t *testing.T, program, prompt, text string, args ...string) (welcome, rest string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	stdin, err := cmd.StdinPipe()
	assert.NilError(t, err)
	stdout, err := cmd.StdoutPipe()
	assert.NilError(t, err)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	assert.NilError(t, cmd.Start())
	watchdog := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()

	var seen strings.Builder
	if err := until(stdout, &seen, prompt); err != nil {
		_ = cmd.Wait() // it has nothing more to say than this
		t.Fatalf("%v after %q: %s", err, &seen, &stderr)
	}
	_, err = io.WriteString(stdin, text+"exit\n")
	assert.NilError(t, err)
	printed, err := io.ReadAll(stdout)
	assert.NilError(t, err)
	assert.NilError(t, cmd.Wait(), "%s%s", printed, &stderr)
	return seen.String(), string(printed)
}

// until reads until the text has come.
func until(r io.Reader, seen *strings.Builder, text string) error {
	for b := make([]byte, 1); !strings.HasSuffix(seen.String(), text); seen.Write(b) {
		if _, err := r.Read(b); err != nil {
			return err
		}
	}
	return nil
}

func TestArguments(t *testing.T) {
	assert.Error(t, run(t.Context(), options{transport: "pci"}, nil), `-transport "pci": accepted are vhost-user, mmio`)
	assert.Error(t, run(t.Context(), options{transport: "mmio"}, []string{"now"}), `unexpected argument "now"`)
}
