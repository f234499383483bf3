package main

import (
	"bytes"
	"errors"
	"io"
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
	if _, err := uml.Prepare(t.Context(), t.Logf); err != nil {
		if u := (*uml.Unavailable)(nil); errors.As(err, &u) && os.Getenv("CI") != "true" {
			t.Skip(u)
		}
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "uml")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	assert.NilError(t, err, "%s", out)
	for name, bus := range map[string]string{"vhost-user": "virtio-uml", "mmio": "virtio-mmio-hvl2"} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program, "-transport", name)
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
			if err := until(stdout, &seen, "/ # "); err != nil {
				_ = cmd.Wait() // it has nothing more to say than this
				t.Fatalf("%v after %q: %s", err, &seen, &stderr)
			}
			assert.Check(t, strings.Contains(seen.String(), "driver virtio_console, by "+bus), seen.String())
			_, err = io.WriteString(stdin, "head -c 1000 /dev/hwrng | wc -c\nexit\n")
			assert.NilError(t, err)
			rest, err := io.ReadAll(stdout)
			assert.NilError(t, err)
			assert.NilError(t, cmd.Wait(), "%s", &stderr)
			assert.Check(t, strings.Contains(string(rest), "\n1000\r\n"), "%q", rest)
		})
	}
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
	assert.Error(t, run(t.Context(), "pci", false, nil), `-transport "pci": accepted are vhost-user, mmio`)
	assert.Error(t, run(t.Context(), "mmio", false, []string{"now"}), `unexpected argument "now"`)
}
