package shmem

import (
	"os"
	"runtime"
	"strings"
	"testing"
)

// cannotRun skips a test that this machine cannot run; where CI=true promises a machine that
// can, it fails it.
func cannotRun(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("cannot run, and CI=true: ", why)
	}
	t.Skip(why)
}

// emulated reports whether this is an arm64 program on another machine, under QEMU's user mode.
// That hands on a SIGBUS without its address, which Go takes for a nil dereference.
func emulated() bool {
	arch, err := os.ReadFile("/proc/sys/kernel/arch")
	return err == nil && runtime.GOARCH == "arm64" && strings.TrimSpace(string(arch)) != "aarch64"
}
